/* Texts, errors and descriptors. */
#include "common.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

/* At the end of the .bss section (Makefile): its beginning shares a page with the variables before it. */
char kept_texts[TEXTS_SIZE] __attribute__((section(".bss.zz_kept_texts")));

/* Appends as much of the text as fits; the buffer stays terminated. Returns whether all of it fits. */
static bool append(char *buffer, size_t size, size_t *length, const char *text)
{
    size_t wanted = strlen(text);
    size_t room = size - 1 - *length;
    size_t count = wanted < room ? wanted : room;
    memcpy(buffer + *length, text, count);
    *length += count;
    buffer[*length] = '\0';
    return count == wanted;
}

static bool append_all(char *buffer, size_t size, size_t *length, va_list texts)
{
    const char *text;
    bool fitted = true;
    buffer[0] = '\0';
    *length = 0;
    while (fitted && (text = va_arg(texts, const char *)) != NULL)
        fitted = append(buffer, size, length, text);
    return fitted;
}

int fail_with(struct init *init, int error, ...)
{
    va_list texts;
    va_start(texts, error);
    append_all(init->detail, DETAIL_SIZE, &init->detail_length, texts);
    va_end(texts);
    return -error;
}

char *keep_text(struct init *init)
{
    char *kept = init->detail;
    char *next = kept + strlen(kept) + 1;
    if (next + DETAIL_SIZE > kept_texts + TEXTS_SIZE)
        return NULL;
    init->detail = next;
    return kept;
}

bool join_with(char *buffer, size_t size, ...)
{
    size_t length;
    va_list texts;
    va_start(texts, size);
    bool fitted = append_all(buffer, size, &length, texts);
    va_end(texts);
    return fitted;
}

char *decimal(char buffer[static DECIMAL_SIZE], int64_t value)
{
    char *at = buffer + DECIMAL_SIZE - 1;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    *at = '\0';
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        *--at = '-';
    return at;
}

bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    if (strncmp(path, directory, length) != 0)
        return false;
    return path[length] == '\0' || path[length] == '/' || directory[length - 1] == '/';
}

void close_fd(int *fd)
{
    int before = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = before;
}

int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
