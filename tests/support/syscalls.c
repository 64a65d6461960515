/* Makes the system calls that its arguments name, and prints what each returned: -errno on failure.
 *
 *     NUMBER[:ARGUMENT…]    by the machine's own way
 *     x86:NUMBER[:…]        as a 32-bit program
 *     catch                 from here on SIGSYS is caught, and printed as `SIGSYS NUMBER`
 *     thread                the calls to come are made by a second thread, and the first prints `alive`
 *
 * Numbers are as strtoul(3) reads them. Without the C library's printf, which would make calls of its own. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void print(const char *word, long number)
{
    char line[96];
    size_t length = strlen(word);
    memcpy(line, word, length);
    char digits[24];
    size_t count = 0;
    unsigned long rest = number < 0 ? -(unsigned long)number : (unsigned long)number;
    do
        digits[count++] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (number < 0)
        digits[count++] = '-';
    while (count > 0)
        line[length++] = digits[--count];
    line[length++] = '\n';
    if (write(STDOUT_FILENO, line, length) < 0)
        _exit(99);
}

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    print("SIGSYS ", info->si_syscall);
}

static long call(char *text)
{
    long result;
    unsigned long values[7] = {0};
    int is_32bit = strncmp(text, "x86:", 4) == 0;
    if (is_32bit)
        text += 4;
    for (int i = 0; i < 7 && *text != '\0'; i++) {
        values[i] = strtoul(text, &text, 0);
        if (*text == ':')
            text++;
    }
#ifdef __x86_64__
    if (is_32bit) {
        __asm__ volatile("int $0x80"
                         : "=a"(result)
                         : "a"(values[0]), "b"(values[1]), "c"(values[2]), "d"(values[3]), "S"(values[4]),
                           "D"(values[5])
                         : "memory", "r8", "r9", "r10", "r11");
        return (int)result;
    }
#endif
    result = syscall((long)values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
    return result < 0 ? -errno : result;
}

static void *work(void *arguments)
{
    for (char **argument = arguments; *argument != NULL; argument++)
        print("", call(*argument));
    return NULL;
}

int main(int argc, char **argv)
{
    (void)argc;
    for (char **argument = argv + 1; *argument != NULL; argument++) {
        if (strcmp(*argument, "catch") == 0) {
            struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
            sigaction(SIGSYS, &action, NULL);
        } else if (strcmp(*argument, "thread") == 0) {
            pthread_t thread;
            pthread_create(&thread, NULL, work, argument + 1);
            usleep(200000);
            if (write(STDOUT_FILENO, "alive\n", 6) < 0)
                return 99;
            return 0;
        } else {
            print("", call(*argument));
        }
    }
    return 0;
}
