/* Linked into the sanitized init only: how its reports end. There is no environment to say it by. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    /* leaks: the search reads /proc, which isn't there in the container; the init frees nothing anyway */
    return "detect_leaks=0:exitcode=99";
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}
