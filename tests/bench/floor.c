/* floor STEPS: carries out a recorded plan, with the init and the calls of pyrunc and without its interpreter, its
 * configuration and its state: the least time that a runtime of this design can take for the same container.
 *
 * STEPS is a file with a step on each line (floor.py writes it):
 *     cgroup PATH                make it, and remove it at the end
 *     devices FILE               load the eBPF program of these instructions, and attach it to the cgroup
 *     beside FILE                the same after the clone, or where the init waits for an answer, after that
 *     file FD FILE               the content of FILE in a sealed memfd
 *     tree FD PATH               a detached copy of the mount
 *     namespace FD TYPE PATH     join it, a CLONE_NEW* type
 *     clone FLAGS BLOB           clone the init with this plan
 *     answer WHAT FILE TEXT      on the init's request, write TEXT to /proc/PID/FILE; \n stands for a newline
 *     limit WHAT NUMBER SOFT HARD    on the init's request, set its resource limit
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"

enum { LINES = 64, FDS = 64, SIZE = 1 << 20, REQUEST = 1, READY = 2 };

struct message {
    uint32_t type, step;
    int32_t error;
    uint32_t length;
    char detail[4096];
};

static char *lines[LINES];
static int inherited[FDS], joined[FDS], types[FDS];
static int inherited_count, joined_count;
static char beside[4096];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t read_all(const char *path, char *data, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, data, size - 1);
    if (length < 0)
        die(path);
    data[length] = '\0';
    close(fd);
    return (size_t)length;
}

static int sealed(const char *name, const char *path)
{
    static char data[SIZE];
    size_t length = read_all(path, data, sizeof data);
    int fd = pyrunc_memfd(name, data, length, 0);
    if (fd < 0)
        die("memfd_create");
    return fd;
}

static void place(int fd, int number)
{
    if (fd < 0 || dup3(fd, number, O_CLOEXEC) < 0)
        die("dup3");
    close(fd);
}

static void attach_devices(int cgroup, const char *path)
{
    static char data[SIZE];
    size_t length = read_all(path, data, sizeof data);
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                           .insn_cnt = (uint32_t)(length / 8),
                           .insns = (uintptr_t)data,
                           .license = (uintptr_t)"Apache"};
    int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
    union bpf_attr attach = {.target_fd = (uint32_t)cgroup,
                             .attach_bpf_fd = (uint32_t)program,
                             .attach_type = BPF_CGROUP_DEVICE,
                             .attach_flags = BPF_F_ALLOW_MULTI};
    if (program < 0 || syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) < 0)
        die("bpf");
    close(program);
}

static void answer(int pid, const char *what)
{
    for (int i = 0; lines[i] != NULL; i++) {
        char request[64], file[64], path[128], value[512];
        unsigned long long soft, hard;
        int resource;
        if (sscanf(lines[i], "limit %63s %d %llu %llu", request, &resource, &soft, &hard) == 4 &&
            strcmp(request, what) == 0) {
            struct rlimit limit = {soft, hard};
            if (prlimit(pid, resource, &limit, NULL) < 0)
                die("prlimit");
        }
        if (sscanf(lines[i], "answer %63s %63s %511[^\n]", request, file, value) != 3 || strcmp(request, what) != 0)
            continue;
        char *end = value;
        for (const char *from = value; *from != '\0'; from++)
            *end++ = from[0] == '\\' && from[1] == 'n' ? (from++, '\n') : *from;
        snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, value, (size_t)(end - value)) != end - value)
            die(path);
        close(fd);
    }
}

/* Serves the init until it executes its program. */
static void serve(int sync, int pid, int cgroup)
{
    struct message message;
    ssize_t length;
    bool waits = false;
    for (int i = 0; lines[i] != NULL; i++)
        waits |= strncmp(lines[i], "answer maps ", strlen("answer maps ")) == 0;
    if (beside[0] != '\0' && !waits) {
        attach_devices(cgroup, beside);
        beside[0] = '\0';
    }
    while ((length = recv(sync, &message, sizeof message - 1, 0)) > 0) {
        ((char *)&message)[length] = '\0';
        if (message.type != REQUEST && message.type != READY) {
            fprintf(stderr, "floor: step %u: %s: %s\n", message.step, message.detail, strerror(message.error));
            exit(1);
        }
        if (message.type == REQUEST)
            answer(pid, message.detail);
        if (send(sync, "A", 1, MSG_NOSIGNAL) != 1)
            die("send");
        if (beside[0] != '\0')
            attach_devices(cgroup, beside);
        beside[0] = '\0';
    }
}

static int run(uint64_t flags, int cgroup, const char *blob)
{
    int pair[2];
    char argv[64];
    if (pyrunc_socketpair(pair) < 0)
        die("socketpair");
    int plan = sealed("pyrunc-plan", blob), image = pyrunc_init_image();
    inherited[inherited_count++] = pair[1];
    inherited[inherited_count++] = plan;
    snprintf(argv, sizeof argv, "pyrunc:[init]%c%d%c%d", 0, pair[1], 0, plan);
    struct pyrunc_clone clone = {.flags = flags,
                                 .cgroup_fd = cgroup,
                                 .image_fd = image,
                                 .join_count = joined_count,
                                 .join_fds = joined,
                                 .join_types = types,
                                 .inherit_count = inherited_count,
                                 .inherit_fds = inherited,
                                 .args = argv,
                                 .arg_count = 3};
    errno = -pyrunc_clone_init(&clone);
    if (errno != 0)
        die("clone");
    close(pair[1]);
    serve(pair[0], clone.pid, cgroup);
    int status;
    if (waitpid(clone.pid, &status, 0) < 0)
        die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    static char steps[SIZE];
    char path[4096] = "", file[4096];
    int cgroup = -1, code = 1, number, type, count = 0;
    unsigned long long flags;
    if (argc != 2)
        return 2;
    read_all(argv[1], steps, sizeof steps);
    for (char *line = strtok(steps, "\n"); line != NULL && count < LINES - 1; line = strtok(NULL, "\n"))
        lines[count++] = line;
    for (int i = 0; i < count; i++) {
        if (sscanf(lines[i], "cgroup %4095s", path) == 1) {
            if (mkdir(path, 0755) < 0 || (cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
                die(path);
        } else if (sscanf(lines[i], "devices %4095s", file) == 1) {
            attach_devices(cgroup, file);
        } else if (sscanf(lines[i], "beside %4095s", beside) == 1) {
            continue;
        } else if (sscanf(lines[i], "file %d %4095s", &number, file) == 2) {
            place(sealed("pyrunc-seccomp", file), number);
            inherited[inherited_count++] = number;
        } else if (sscanf(lines[i], "tree %d %4095s", &number, file) == 2) {
            place(pyrunc_open_tree(AT_FDCWD, file, OPEN_TREE_CLONE | AT_RECURSIVE), number);
            inherited[inherited_count++] = number;
        } else if (sscanf(lines[i], "namespace %d %d %4095s", &number, &type, file) == 3) {
            place(open(file, O_RDONLY | O_CLOEXEC), number);
            joined[joined_count] = number;
            types[joined_count++] = type;
        } else if (sscanf(lines[i], "clone %llu %4095s", &flags, file) == 2) {
            code = run(flags, cgroup, file);
        }
    }
    if (cgroup >= 0 && rmdir(path) < 0)
        die(path);
    return code;
}
