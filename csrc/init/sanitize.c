/* Options of the sanitizers, linked only into the sanitized init, which has no environment. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    /* no leak check: it reads /proc, which the container may lack, and the init frees nothing anyway */
    return "detect_leaks=0:exitcode=99";
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}
