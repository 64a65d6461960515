/* The installed `pyrunc`: CPython embedded, with pyrunc's hot modules frozen in.
 *
 * The interpreter is isolated: it has no sys.path and no site, and reads nothing from the environment or from a file.
 * The ordinary build does what the hot modules can't do. The table of frozen modules marks the cold modules. Importing
 * one hands the whole command over: execv starts the interpreter of the installation's private directory, which has
 * click, jsonschema and the rest.
 */
#define _GNU_SOURCE
#include "importer.h"
#include "snapshot.h"
#include "specialise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef PYRUNC_TRIMS
#include "trims/trims.h"
#endif

/* Where `make install` puts the ordinary build, from the directory of this program. */
#define PRIVATE_DIRECTORY "../lib/pyrunc"

/* The program that the ordinary build runs. Its argv is -c, the directory of its modules, what
 * pyrunc/libcontainer/spec/inputs.py hands over, and then our own argv. */
#define ENTRY                                                                              \
    "import sys; sys.path.insert(0, sys.argv[1]); given = sys.argv[2]; del sys.argv[:3]\n" \
    "from pyrunc.__main__ import run; run(given)"

/* The same in a Python environment into which pip has installed a wheel. argv[1] is the directory of this program. The
 * path of an isolated interpreter lacks the packages that are installed for one user: their directory is added behind
 * the standard library. */
#define ENVIRONMENT_ENTRY                                                                              \
    "import os, sys; top, given = sys.argv[1:3]; del sys.argv[:3]\n"                                   \
    "at = next((i for i, path in enumerate(sys.path) if path.endswith('-packages')), len(sys.path))\n" \
    "for name in ('site-packages', 'dist-packages'):\n"                                                \
    "    path = os.path.normpath(top + '../lib/python%d.%d/' % sys.version_info[:2] + name)\n"         \
    "    if os.path.isdir(path + '/pyrunc'): sys.path.insert(at, path)\n"                              \
    "from pyrunc.__main__ import run; run(given)"

/* The script that a wheel has beside this program. The installer writes the environment's interpreter into its first
 * line (binary distribution format, "Recommended installer features"). */
#define ENVIRONMENT_SCRIPT "pyrunc-python"

enum { SNAPSHOT_HASH_SEED = 3 };

static char **command_line;
static int command_line_length;
static char working_directory[PATH_MAX]; /* where we were started, or "" if that directory has no name */

/* The path of a file beside this program. It is derived from the program's own file, so that the installation can be
 * moved as a whole; argv[0] and $PATH are the caller's and prove nothing. Returns -1 with errno if there is no path. */
static int own_path(char path[PATH_MAX], const char *name)
{
    char directory[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", directory, sizeof directory);
    if (length < 0)
        return -1;
    while (length > 0 && directory[length - 1] != '/')
        length--;
    if (snprintf(path, PATH_MAX, "%.*s%s", (int)length, directory, name) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

/* The interpreter that the installer has written into the first lines of a script. It stands in the first line behind
 * "#!". If it is too long for the kernel or has a space in it, the first lines are
 *     #!/bin/sh
 *     '''exec' "/path/of a/python3" "$0" "$@"
 * Returns NULL if the script has neither form. Changes the text. */
static char *interpreter_of(char *text)
{
    static const char shell[] = "#!/bin/sh\n'''exec' ";
    char *path, *end;
    if (strncmp(text, shell, sizeof shell - 1) == 0) {
        path = text + sizeof shell - 1;
        int quoted = *path == '"' || *path == '\'';
        end = *path == '\0' ? NULL : strchr(path + quoted, quoted ? *path : ' ');
        path += quoted;
    } else {
        path = text + 2;
        end = strncmp(text, "#!", 2) == 0 ? strchr(path, '\n') : NULL;
    }
    if (end == NULL || *path != '/')
        return NULL;
    *end = '\0';
    return path;
}

/* The interpreter of the environment into which a wheel was installed: its path in `text`, or NULL if there is none,
 * and this program is of another kind of installation. */
static char *environment_python(char text[2 * PATH_MAX])
{
    char script[PATH_MAX];
    if (own_path(script, ENVIRONMENT_SCRIPT) < 0)
        return NULL;
    int fd = open(script, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t length = read(fd, text, 2 * PATH_MAX - 1);
    close(fd);
    if (length < 0)
        return NULL;
    text[length] = '\0';
    return interpreter_of(text);
}

static _Noreturn void give_up(const char *path)
{
    dprintf(STDERR_FILENO, "pyrunc: can't start the ordinary build: %s: %s\n", path, strerror(errno));
    _exit(1);
}

/* The attribute at the end of a path of attributes, or NULL. Leaves no exception set. */
static PyObject *attribute(PyObject *object, const char *const *path)
{
    Py_INCREF(object);
    for (; object != NULL && *path != NULL; path++)
        Py_SETREF(object, PyObject_GetAttrString(object, *path));
    PyErr_Clear();
    return object;
}

/* An exception that main() did not turn into a message is a bug of pyrunc: print where it is. The interpreter's core
 * has no sys.stderr, so PyErr_Print would print nothing. */
static void print_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    while (traceback != NULL && traceback != Py_None) {
        PyObject *file = attribute(traceback, (const char *[]){"tb_frame", "f_code", "co_filename", NULL});
        PyObject *line = attribute(traceback, (const char *[]){"tb_lineno", NULL});
        if (file != NULL && line != NULL)
            dprintf(STDERR_FILENO, "  %s:%ld\n", PyUnicode_AsUTF8(file), PyLong_AsLong(line));
        traceback = attribute(traceback, (const char *[]){"tb_next", NULL});
    }
    PyObject *text = value == NULL ? NULL : PyObject_Str(value);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    dprintf(STDERR_FILENO, "pyrunc: internal error: %s: %s\n", ((PyTypeObject *)type)->tp_name, utf8 ? utf8 : "");
}

/* The descriptors of the input that was read already, for the ordinary build: the result of
 * pyrunc.libcontainer.spec.inputs.hand_over. */
static const char *read_inputs(void)
{
    PyObject *module = importer_import("pyrunc.libcontainer.spec.inputs");
    PyObject *numbers = module == NULL ? NULL : PyObject_CallMethod(module, "hand_over", NULL);
    const char *text = numbers == NULL ? NULL : PyUnicode_AsUTF8(numbers);
    if (text == NULL) {
        print_exception();
        _exit(1);
    }
    return text; /* owned by an object that is never freed */
}

/* Replace this process by the ordinary build: `words`, followed by our own command line. */
static _Noreturn void execute(char *const words[], size_t count)
{
    char **args = malloc((count + (size_t)command_line_length + 1) * sizeof *args);
    if (args == NULL)
        give_up(words[0]);
    memcpy(args, words, count * sizeof *args);
    memcpy(args + count, command_line, ((size_t)command_line_length + 1) * sizeof *args); /* with its NULL */
    execv(args[0], args);
    give_up(args[0]);
}

/* Block SIGINT for the start of the interpreter, which would end by it with a traceback. It is unblocked when it can
 * end the process as usual (pyrunc/startup.py), which the mark in front of what is handed over asks for. */
static char *hold_interrupt(const char *numbers)
{
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    if (sigprocmask(SIG_BLOCK, &interrupt, &before) < 0)
        give_up("sigprocmask");
    char *given = malloc(strlen(numbers) + 2);
    if (given == NULL)
        give_up("malloc");
    sprintf(given, "%s%s", sigismember(&before, SIGINT) ? "" : "+", numbers);
    return given;
}

/* Hand the command over. The interpreter is isolated (-I). In an installation of our own it runs without site (-S) too,
 * and imports only from the standard library and our own directory. */
static void hand_over(void)
{
    char python[PATH_MAX], modules[PATH_MAX], text[2 * PATH_MAX];
    /* Paths in the command line are relative to this directory; the command may have changed to its bundle since. */
    if (working_directory[0] != '\0' && chdir(working_directory) < 0)
        give_up(working_directory);
    char *given = hold_interrupt(read_inputs());
    char *environment = environment_python(text);
    if (environment != NULL) {
        if (own_path(modules, "") < 0)
            give_up("/proc/self/exe");
        char *words[] = {environment, "-I", "-X", "utf8", "-c", ENVIRONMENT_ENTRY, modules, given};
        execute(words, sizeof words / sizeof words[0]);
    }
    if (own_path(python, PRIVATE_DIRECTORY "/bin/python3") < 0 || own_path(modules, PRIVATE_DIRECTORY "/modules") < 0)
        give_up("/proc/self/exe");
    char *words[] = {python, "-I", "-S", "-X", "utf8", "-c", ENTRY, modules, given};
    execute(words, sizeof words / sizeof words[0]);
}

/* _launcher.hand_over(): for pyrunc.launcher.require. Does not return. */
static PyObject *call_hand_over(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    hand_over();
    Py_RETURN_NONE;
}

/* _launcher.rest(): for pyrunc.launcher.rest. */
static PyObject *call_rest(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
#ifdef PYRUNC_SNAPSHOT
    snapshot_rest();
#endif
    Py_RETURN_NONE;
}

PyObject *PyInit__launcher(void);

PyObject *PyInit__launcher(void)
{
    static PyMethodDef methods[] = {{"hand_over", call_hand_over, METH_NOARGS, NULL},
                                    {"rest", call_rest, METH_NOARGS, NULL},
                                    {NULL, NULL, 0, NULL}};
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_launcher", .m_size = -1,
                                        .m_methods = methods};
    return PyModule_Create(&module);
}

#ifndef PYRUNC_TRIMS
/* Keep CPython from looking for its files: each gets a path in a place where nobody can put a file. CPython looks for a
 * virtual environment's pyvenv.cfg beside the executable, and one directory above. */
static PyStatus name_paths(PyConfig *config)
{
    wchar_t **const paths[] = {
        &config->program_name, &config->executable,  &config->base_executable, &config->home,
        &config->prefix,       &config->base_prefix, &config->exec_prefix,     &config->base_exec_prefix,
    };
    PyStatus status = PyStatus_Ok();
    for (size_t i = 0; i < sizeof paths / sizeof paths[0] && !PyStatus_Exception(status); i++)
        status = PyConfig_SetString(config, paths[i], L"/proc/pyrunc/bin/python");
    return status;
}
#endif

/* Start the interpreter, with Python's own UTF-8 mode whatever the locale is. */
static PyStatus start_python(void)
{
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        return status;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 0;
    config.module_search_paths_set = 1; /* to no path */
#ifdef PYRUNC_SNAPSHOT
    /* The seed of str hashes is drawn only once in any case, when the snapshot is made. It is a constant, so that two
     * builds are equal. */
    config.use_hash_seed = 1;
    config.hash_seed = SNAPSHOT_HASH_SEED;
#endif
#ifdef PYRUNC_TRIMS
    trims_configure(&config);
#else
    PyImport_FrozenModules = frozen_codecs; /* the start reads no file for them */
    status = name_paths(&config);
#endif
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return status;
}

static PyObject *list_of_words(int count, char **words)
{
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *word = PyUnicode_DecodeFSDefault(words[i]);
        if (word == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, word);
    }
    return list;
}

/* Start the interpreter, with our import statement. Returns -1 with an exception set on failure. */
static int start(void)
{
    PyStatus status = start_python();
    if (PyStatus_Exception(status)) {
        dprintf(STDERR_FILENO, "pyrunc: can't start: %s\n", status.err_msg);
        _exit(1);
    }
    PyGC_Disable(); /* a command ends before a collection of cycles would pay */
#ifdef PYRUNC_TRIMS
    if (trims_complete() < 0)
        return -1;
#endif
    return importer_install(hand_over);
}

/* The interpreter, woken from its snapshot or started. Returns -1 with an exception set on failure. */
static int wake(void)
{
#ifdef PYRUNC_SNAPSHOT
    if (!snapshot_is_made()) {
        snapshot_prepare();
        if (start() < 0 || importer_import_all(specialise_note) < 0 || specialise() < 0)
            return -1;
        snapshot_write();
    }
    return snapshot_wake(command_line + (command_line_length > 0));
#else
    return start();
#endif
}

/* The name under which this program is containerd's shim, and not the command. */
#define SHIM "containerd-shim-pyrunc-v2"

/* The module whose main(argv) is called. */
static const char *entry(const char *name)
{
    const char *slash = name == NULL ? NULL : strrchr(name, '/');
    const char *last = slash != NULL ? slash + 1 : name;
    return last != NULL && strcmp(last, SHIM) == 0 ? "pyrunc.shim.main" : "pyrunc.main";
}

/* Call main(argv) of the module for argv[0]. Returns its exit code, or -1 with an exception set. */
static int run(int argc, char **argv)
{
    if (wake() < 0)
        return -1;
    PyObject *module = importer_import(entry(argc > 0 ? argv[0] : NULL));
    PyObject *words = module == NULL ? NULL : list_of_words(argc, argv);
    PyObject *code = words == NULL ? NULL : PyObject_CallMethod(module, "main", "O", words);
    return code == NULL ? -1 : (int)PyLong_AsLong(code);
}

int main(int argc, char **argv)
{
    command_line = argv;
    command_line_length = argc;
    if (getcwd(working_directory, sizeof working_directory) == NULL)
        working_directory[0] = '\0';
    /* As CPython's own program does: a write to a closed pipe raises an OSError, and does not kill us without a
     * message. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    int code = run(argc, argv);
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        signal(SIGINT, SIG_DFL); /* the caller sees which signal ended us, as with any program */
        raise(SIGINT);
    }
    if (PyErr_Occurred()) {
        print_exception();
        code = 1;
    }
    _exit(code); /* nothing is buffered; tearing the interpreter down would be wasted time */
}
