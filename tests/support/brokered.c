/* Makes the calls that the broker carries out, and prints what came of them.
 *
 *     sysinfo                        total and free memory in bytes, processes
 *     uptime                         of sysinfo, in seconds
 *     connect KIND IP PORT           KIND: stream, dgram or nonblock; the errno's number, or the peer
 *     from OWN KIND IP PORT          the same with a socket that is bound to the address OWN
 *     bind KIND IP PORT              the errno's number, or the socket's address
 *     unix KIND PATH                 connect a stream socket; the errno's number, or what the server sends
 *     listen PATH                    bind a stream socket; the errno's number, or its address
 *     mount SOURCE TARGET TYPE FLAGS DATA
 *     mknod PATH MODE DEVICE
 *     chroot ROOT PATH               make ROOT the root directory at once; then connect to PATH
 *     further PATH                   enter a user namespace of its own at once; then mknod of null
 *     race IP PORT IP PORT COUNT     connect so often, while a thread exchanges the two addresses
 *     racepath PATH PATH COUNT       the same with two paths
 *     noise SEED COUNT               so many calls with arguments of no sense
 *     time CALL COUNT                nanoseconds of a call: sysinfo, connect, getppid
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

static int say(int result)
{
    if (result < 0)
        printf("errno %d\n", errno);
    else
        printf("done\n");
    return 0;
}

static socklen_t internet(union address *address, const char *ip, const char *port)
{
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, ip, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)atoi(port));
        return sizeof address->v4;
    }
    address->v6.sin6_family = AF_INET6;
    inet_pton(AF_INET6, ip, &address->v6.sin6_addr);
    address->v6.sin6_port = htons((uint16_t)atoi(port));
    return sizeof address->v6;
}

static socklen_t local(union address *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->local.sun_family = AF_UNIX;
    strcpy(address->local.sun_path, path);
    if (path[0] != '@')
        return sizeof address->local;
    address->local.sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
}

static void print_address(const union address *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (address->any.sa_family == AF_UNIX) {
        printf("%s\n", address->local.sun_path);
        return;
    }
    int is_v4 = address->any.sa_family == AF_INET;
    const void *bytes = is_v4 ? (const void *)&address->v4.sin_addr : &address->v6.sin6_addr;
    inet_ntop(address->any.sa_family, bytes, text, sizeof text);
    printf("%s %d\n", text, ntohs(is_v4 ? address->v4.sin_port : address->v6.sin6_port));
}

static int make_socket(const char *kind, int family)
{
    int type = strcmp(kind, "dgram") == 0 ? SOCK_DGRAM : SOCK_STREAM;
    return socket(family, type | (strcmp(kind, "nonblock") == 0 ? SOCK_NONBLOCK : 0), 0);
}

/* own: the address that the socket is bound to; NULL for none. */
static int do_connect(const char *own, const char *kind, const union address *address, socklen_t size)
{
    union address bound, peer;
    socklen_t length = sizeof peer;
    int fd = make_socket(kind, address->any.sa_family);
    if (fd >= 0 && own != NULL && bind(fd, &bound.any, internet(&bound, own, "0")) < 0)
        return say(-1);
    if (fd < 0 || connect(fd, &address->any, size) < 0)
        return say(-1);
    getpeername(fd, &peer.any, &length);
    print_address(&peer);
    return 0;
}

static int do_bind(const char *kind, const union address *address, socklen_t size)
{
    union address own = {0};
    socklen_t length = sizeof own;
    int fd = make_socket(kind, address->any.sa_family);
    if (fd < 0 || bind(fd, &address->any, size) < 0)
        return say(-1);
    getsockname(fd, &own.any, &length);
    print_address(&own);
    return 0;
}

static int do_unix(const char *kind, const char *path)
{
    union address address;
    socklen_t size = local(&address, path);
    char text[128] = "";
    int fd = make_socket(kind, AF_UNIX);
    if (fd < 0 || connect(fd, &address.any, size) < 0)
        return say(-1);
    if (read(fd, text, sizeof text - 1) < 0)
        return say(-1);
    printf("%s\n", text);
    return 0;
}

static union address flipped;
static union address both[2];
static atomic_long flips;

/* Copies the two addresses over the one that the other thread connects to, in turn, word by word. */
static void *flip(void *unused)
{
    (void)unused;
    for (long i = 0;; i++) {
        memcpy(&flipped, &both[i & 1], sizeof flipped);
        atomic_store_explicit(&flips, i, memory_order_relaxed);
    }
    return NULL;
}

/* Whether the peer is that of the first address: a server at a path sends `g…`. */
static int is_good(int fd)
{
    union address peer = {0};
    socklen_t length = sizeof peer;
    char first = '\0';
    if (both[0].any.sa_family == AF_UNIX)
        return read(fd, &first, 1) == 1 && first == 'g';
    return getpeername(fd, &peer.any, &length) == 0 && memcmp(&peer, &both[0], length) == 0;
}

static int race(const char *kind, socklen_t size, long count)
{
    long good = 0, bad = 0, refused = 0, other = 0;
    pthread_t thread;
    flipped = both[0];
    if (pthread_create(&thread, NULL, flip, NULL) != 0)
        return say(-1);
    for (long i = 0; i < count; i++) {
        int fd = make_socket(kind, both[0].any.sa_family);
        if (connect(fd, &flipped.any, size) < 0)
            refused += errno == EACCES, other += errno != EACCES;
        else if (is_good(fd))
            good++;
        else
            bad++;
        close(fd);
    }
    printf("good %ld bad %ld refused %ld other %ld flips %ld\n", good, bad, refused, other, atomic_load(&flips));
    return 0;
}

static int take_time(const char *call, long count)
{
    struct timespec begin, end;
    struct sysinfo info;
    union address address;
    socklen_t size = internet(&address, "127.0.0.1", "9");
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    long failed = 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < count; i++)
        if (strcmp(call, "sysinfo") == 0)
            failed += sysinfo(&info) < 0;
        else if (strcmp(call, "connect") == 0)
            failed += connect(fd, &address.any, size) < 0;
        else
            failed += syscall(SYS_getppid) < 0;
    clock_gettime(CLOCK_MONOTONIC, &end);
    double passed = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    printf("%.0f failed %ld\n", passed / (double)count, failed);
    return 0;
}

/* An argument: a number at an edge, or the place of bytes that may be a path, an address or options. */
static long any_argument(void)
{
    static char text[8192];
    static const char *const words[] = {"tmpfs",   "overlay",         "/mnt",     "/tmp/x",
                                        "size=1k", "lowerdir=/:/bin", "/dev/fd/0"};
    for (int i = 0; i < 64; i++)
        text[rand() % (int)sizeof text] = (char)rand();
    char *place = text + rand() % (int)sizeof text;
    if (place < text + sizeof text - 32 && rand() % 2 == 0)
        strcpy(place, words[rand() % (int)(sizeof words / sizeof *words)]);
    const long edges[] = {
        0,         -1, -5, -300, -4096, -8193, -100, rand() % 130, 1L << rand() % 63, 0x7fffffffffff, S_IFCHR | 0666,
        1 << 8 | 3};
    return rand() % 2 ? (long)place : edges[rand() % (int)(sizeof edges / sizeof *edges)];
}

static int make_noise(unsigned seed, long count)
{
    static const long calls[] = {SYS_mknod, SYS_mknodat, SYS_mount, SYS_sysinfo, SYS_connect, SYS_bind};
    srand(seed);
    for (int i = 0; i < 8; i++)
        socket(i % 2 ? AF_INET : AF_UNIX, i % 3 ? SOCK_STREAM : SOCK_DGRAM, 0);
    for (long i = 0; i < count; i++) {
        long call = calls[rand() % (int)(sizeof calls / sizeof *calls)];
        long first = call == SYS_connect || call == SYS_bind ? rand() % 12 : any_argument();
        syscall(call, first, any_argument(), any_argument(), any_argument(), any_argument());
    }
    return say(0);
}

int main(int argc, char **argv)
{
    union address address;
    struct sysinfo info;
    const char *call = argc > 1 ? argv[1] : "";
    if (strcmp(call, "sysinfo") == 0) {
        if (sysinfo(&info) < 0)
            return say(-1);
        printf("%lu %lu %d\n", info.totalram * info.mem_unit, info.freeram * info.mem_unit, info.procs);
        return 0;
    }
    if (strcmp(call, "uptime") == 0) {
        if (sysinfo(&info) < 0)
            return say(-1);
        printf("%ld\n", info.uptime);
        return 0;
    }
    if (strcmp(call, "connect") == 0 && argc == 5)
        return do_connect(NULL, argv[2], &address, internet(&address, argv[3], argv[4]));
    if (strcmp(call, "from") == 0 && argc == 6)
        return do_connect(argv[2], argv[3], &address, internet(&address, argv[4], argv[5]));
    if (strcmp(call, "bind") == 0 && argc == 5)
        return do_bind(argv[2], &address, internet(&address, argv[3], argv[4]));
    if (strcmp(call, "unix") == 0 && argc == 4)
        return do_unix(argv[2], argv[3]);
    if (strcmp(call, "listen") == 0 && argc == 3)
        return do_bind("stream", &address, local(&address, argv[2]));
    if (strcmp(call, "mount") == 0 && argc == 7)
        return say(mount(argv[2], argv[3], argv[4], strtoul(argv[5], NULL, 0), argv[6]));
    if (strcmp(call, "mknod") == 0 && argc == 5)
        return say(mknod(argv[2], (mode_t)strtoul(argv[3], NULL, 0), strtoul(argv[4], NULL, 0)));
    if (strcmp(call, "noise") == 0 && argc == 4)
        return make_noise((unsigned)atoi(argv[2]), atol(argv[3]));
    if (strcmp(call, "chroot") == 0 && argc == 4) {
        if (chroot(argv[2]) < 0)
            return say(-1);
        usleep(300000); /* the broker looks at this process meanwhile */
        return do_unix("stream", argv[3]);
    }
    if (strcmp(call, "further") == 0 && argc == 3) {
        if (unshare(CLONE_NEWUSER) < 0)
            return say(-1);
        usleep(300000); /* the broker looks at this process meanwhile */
        return say(mknod(argv[2], S_IFCHR | 0666, 1 << 8 | 3));
    }
    if (strcmp(call, "race") == 0 && argc == 7) {
        socklen_t size = internet(&both[0], argv[2], argv[3]);
        internet(&both[1], argv[4], argv[5]);
        return race("dgram", size, atol(argv[6]));
    }
    if (strcmp(call, "racepath") == 0 && argc == 5) {
        local(&both[0], argv[2]);
        local(&both[1], argv[3]);
        return race("stream", sizeof both[0].local, atol(argv[4]));
    }
    if (strcmp(call, "time") == 0 && argc == 4)
        return take_time(argv[2], atol(argv[3]));
    return 2;
}
