/* The steps that find the program and become it. */
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel.h"

/* The home directory in a line of /etc/passwd (passwd(5)) whose third field is the uid; else NULL. Cuts the line. */
static const char *home_in_line(char *line, uint32_t uid)
{
    char *fields[7];
    for (int i = 0; i < 7; i++) {
        fields[i] = strsep(&line, ":");
        if (fields[i] == NULL)
            return NULL;
    }
    uint64_t number;
    if (!parse_decimal(fields[2], UINT32_MAX, &number) || number != uid || fields[5][0] == '\0')
        return NULL;
    return fields[5];
}

/* Reads /etc/passwd line by line until `uid` is found. Lines that are longer than the buffer are skipped. */
static bool find_home(int file, uint32_t uid, char *home, size_t size)
{
    char buffer[PATH_MAX];
    size_t length = 0;
    bool skipping = false;
    for (;;) {
        ssize_t count = read(file, buffer + length, sizeof(buffer) - 1 - length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0 && length == 0)
            return false;
        if (count <= 0)
            buffer[length] = '\n'; /* the last line may lack it */
        length += count > 0 ? (size_t)count : 1;
        char *line = buffer;
        for (char *end; (end = memchr(line, '\n', length - (size_t)(line - buffer))) != NULL; line = end + 1) {
            *end = '\0';
            const char *found = skipping ? NULL : home_in_line(line, uid);
            skipping = false;
            if (found != NULL)
                return join(home, size, "HOME=", found);
        }
        length -= (size_t)(line - buffer);
        memmove(buffer, line, length);
        if (length == sizeof(buffer) - 1) {
            skipping = true;
            length = 0;
        }
        if (count <= 0)
            return false;
    }
}

/* O_NONBLOCK, and a regular file only: the open must not wait if the image's /etc/passwd is a FIFO. */
int step_home(struct init *init, const struct step_home *step)
{
    CLOSING int file = open("/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    bool found =
        file >= 0 && fstat(file, &st) == 0 && S_ISREG(st.st_mode) && find_home(file, step->uid, init->detail, PATH_MAX);
    if (!found)
        join(init->detail, PATH_MAX, "HOME=/");
    init->home = keep_text(init);
    return init->home != NULL ? 0 : fail(init, ENOMEM, "home");
}

/* 0 if the path is a file that the process may execute; else an errno. */
static int check_executable(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    return syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

/* Looks for a name without a slash in the directories of PATH; an empty one is the working directory. */
static int search_path(struct init *init, const char *name, const char *path)
{
    for (const char *start = path; *path != '\0'; start += strcspn(start, ":") + 1) {
        size_t length = strcspn(start, ":");
        if (length + strlen(name) + 3 <= PATH_MAX) {
            char *program = init->detail;
            memcpy(program, start, length);
            const char *dot = length == 0 ? "." : "";
            join(program + length, PATH_MAX - length, dot, "/", name);
            int error = check_executable(program);
            if (error == 0 && program[0] != '/')
                return fail(init, FAILED, "exec: \"", name,
                            "\": cannot run executable found relative to current directory");
            if (error == 0) {
                init->program = keep_text(init);
                return init->program != NULL ? 0 : fail(init, ENOMEM, "exec: \"", name, "\"");
            }
        }
        if (start[length] == '\0')
            break;
    }
    return fail(init, FAILED, "exec: \"", name, "\": executable file not found in $PATH");
}

int step_find_executable(struct init *init, const struct step_find_executable *step)
{
    if (strchr(step->name, '/') == NULL)
        return search_path(init, step->name, step->path);
    init->program = step->name;
    int error = check_executable(step->name);
    if (error == ENOENT || error == ENOTDIR)
        return fail(init, error, "exec: \"", step->name, "\": stat ", step->name);
    return error == 0 ? 0 : fail(init, error, "exec: \"", step->name, "\"");
}

/* The errnos of execve(2) as Go prints them: runc's users search for these texts. */
static const char *execve_text(int error)
{
    switch (error) {
    case E2BIG: return "argument list too long";
    case EACCES: return "permission denied";
    case EINVAL: return "invalid argument";
    case EIO: return "input/output error";
    case EISDIR: return "is a directory";
    case ELIBBAD: return "accessing a corrupted shared library";
    case ELOOP: return "too many levels of symbolic links";
    case EMFILE: return "too many open files";
    case ENAMETOOLONG: return "file name too long";
    case ENFILE: return "too many open files in system";
    case ENOENT: return "no such file or directory";
    case ENOEXEC: return "exec format error";
    case ENOMEM: return "cannot allocate memory";
    case ENOTDIR: return "not a directory";
    case EPERM: return "operation not permitted";
    case ETXTBSY: return "text file busy";
    default: return NULL;
    }
}

/* Writes why the program could not be executed to the container's stderr, and so to its log, where runc's users search
 * for it: `exec /run.sh: no such file or directory`. The write does not wait for a reader. */
void write_not_executed(const struct init *init, int error)
{
    char line[PATH_MAX + 256], number[DECIMAL_SIZE];
    struct pollfd stderr_ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    const char *text = execve_text(error);
    bool fits = text != NULL ? join(line, sizeof(line), init->detail, ": ", text, "\n")
                             : join(line, sizeof(line), init->detail, ": errno ", decimal(number, error), "\n");
    if (fits && poll(&stderr_ready, 1, 0) == 1 && stderr_ready.revents == POLLOUT)
        (void)!write(STDERR_FILENO, line, strlen(line));
}

int step_execute(struct init *init, const struct step_execute *step)
{
    if (step->args.count == 0)
        return fail(init, EINVAL, "exec: no arguments");
    const char *program = init->program != NULL ? init->program : step->args.items[0];
    char **env = step->env.items;
    if (init->home != NULL)
        env[step->env.count] = init->home; /* the decoder left a slot free, and a NULL behind it */
    if (!init->umask_is_set) /* a seccomp filter may have no call more than it must */
        umask(init->umask);
    execve(program, step->args.items, env);
    return fail(init, errno, "exec ", program);
}
