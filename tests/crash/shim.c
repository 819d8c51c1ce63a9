/* Stands between a process and libc, and sees every call that touches what lies below one folder.

   It counts calls, kills the process at the Nth one, has it fail, and keeps a journal from which power.py rebuilds what a disk
   may hold after a power cut. Loaded by LD_PRELOAD; does nothing until shim_watch() is called. Reads of mapped memory are not
   calls: they can't be made to fail here. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    WRITE = 1, SYNC = 2, SIZE = 4, MAKE = 8, RENAME = 16, UNLINK = 32, /* these change the disk */
    OPEN = 64, OPEN_TO_WRITE = 128, READ = 256, MAP = 512, LOCK = 1024
};
enum { NOTHING, KILL, KILL_HALFWAY, FAIL, FAIL_FROM_HERE, FAIL_HALFWAY };
enum { MOST_FILES = 65536, LONGEST = 4096 };

static char root[LONGEST];
static size_t root_length;
static char *paths[MOST_FILES];
static int journal = -1;
static int watched, action, failure;
static long counted, target;
static int failing;
static long clock_seed;

#define REAL(name, ...) ({ \
    static __typeof__(&name) real_##name; \
    if (!real_##name) real_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    real_##name(__VA_ARGS__); })

/* What a control program calls. */

void shim_watch(const char *folder, int journal_descriptor) {
    strncpy(root, folder, LONGEST - 1);
    root_length = strlen(root);
    journal = journal_descriptor;
}

void shim_plan(int kinds, long nth, int what, int error) {
    watched = kinds;
    target = nth;
    action = what;
    failure = error;
    counted = failing = 0;
}

long shim_counted(void) { return counted; }

void shim_jump(long seed) { clock_seed = seed; }

/* The journal. */

struct entry {
    char kind;
    char unused[3];
    int32_t descriptor, flags, first, second;
    int64_t offset, length;
};

static void put(const void *data, size_t length) {
    while (length) {
        ssize_t done = syscall(SYS_write, journal, data, length);
        if (done <= 0) _exit(99);
        data = (const char *)data + done;
        length -= done;
    }
}

static pthread_mutex_t noting = PTHREAD_MUTEX_INITIALIZER;

static void note(char kind, int fd, int flags, const char *one, const char *two, off_t offset, const void *data, size_t length) {
    if (journal < 0) return;
    struct entry entry = {kind, {0}, fd, flags, one ? (int)strlen(one) : 0, two ? (int)strlen(two) : 0, offset, length};
    pthread_mutex_lock(&noting);
    put(&entry, sizeof entry);
    if (one) put(one, entry.first);
    if (two) put(two, entry.second);
    if (data) put(data, length);
    pthread_mutex_unlock(&noting);
}

void shim_mark(int number) { note('K', number, 0, 0, 0, 0, 0, 0); }

/* Paths and what is to be done with a call. */

static const char *below(int folder, const char *path, char *room) {
    if (!root_length || !path) return 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(room, LONGEST)) return 0;
            if (strncmp(room, root, root_length)) return 0;
            strncat(room, "/", LONGEST - strlen(room) - 1);
            strncat(room, path, LONGEST - strlen(room) - 1);
        } else {
            if (folder < 0 || folder >= MOST_FILES || !paths[folder]) return 0;
            snprintf(room, LONGEST, "%s/%s", paths[folder], path);
        }
        path = room;
    }
    if (strncmp(path, root, root_length) || (path[root_length] && path[root_length] != '/')) return 0;
    return path;
}

static int known(int fd) { return fd >= 0 && fd < MOST_FILES && paths[fd]; }

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* 0: go on; 1: fail (errno is set); 2: do half of it, then what follows it. */
static int decide(int kinds) {
    if (!(kinds & watched)) return 0;
    if (failing) {
        errno = failure;
        return 1;
    }
    long now = __sync_add_and_fetch(&counted, 1);
    if (now != target) return 0;
    switch (action) {
    case KILL: die();
    case KILL_HALFWAY: if (kinds & WRITE) return 2; die();
    case FAIL_FROM_HERE: failing = 1; /* fall through */
    case FAIL: errno = failure; return 1;
    case FAIL_HALFWAY: failing = 1; if (kinds & WRITE) return 2; errno = failure; return 1;
    }
    return 0;
}

static void halfway(void) {
    if (action == KILL_HALFWAY) die();
}

/* Files. */

static int opened(int folder, const char *path, int flags, mode_t mode, int plain) {
    char room[LONGEST];
    const char *full = below(folder, path, room);
    if (full) {
        int kinds = OPEN;
        if ((flags & O_ACCMODE) != O_RDONLY) kinds |= OPEN_TO_WRITE;
        if ((flags & O_CREAT) && syscall(SYS_access, full, F_OK)) kinds |= MAKE;
        else if (flags & O_TRUNC) kinds |= SIZE;
        if (decide(kinds)) return -1;
    }
    int fd = plain ? (int)syscall(SYS_open, path, flags, mode) : (int)syscall(SYS_openat, folder, path, flags, mode);
    if (full && fd >= 0 && fd < MOST_FILES) {
        free(paths[fd]);
        paths[fd] = strdup(full);
        note('O', fd, flags, full, 0, 0, 0, 0);
    }
    return fd;
}

#define WITH_MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, int); va_end(more); }

int open(const char *path, int flags, ...) { WITH_MODE return opened(AT_FDCWD, path, flags, mode, 1); }
int open64(const char *path, int flags, ...) { WITH_MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode, 1); }
int openat(int folder, const char *path, int flags, ...) { WITH_MODE return opened(folder, path, flags, mode, 0); }
int openat64(int folder, const char *path, int flags, ...) { WITH_MODE return opened(folder, path, flags | O_LARGEFILE, mode, 0); }

DIR *opendir(const char *path) {
    char room[LONGEST];
    if (below(AT_FDCWD, path, room) && decide(OPEN)) return 0;
    return REAL(opendir, path);
}

int close(int fd) {
    if (known(fd)) {
        free(paths[fd]);
        paths[fd] = 0;
    }
    return syscall(SYS_close, fd);
}

static ssize_t written(int fd, const void *data, size_t length, off_t offset, int placed) {
    if (!known(fd)) return placed ? syscall(SYS_pwrite64, fd, data, length, offset) : syscall(SYS_write, fd, data, length);
    int what = decide(WRITE);
    if (what == 1) return -1;
    if (what == 2) length = length > 1 ? length / 2 : length;
    if (!placed) offset = syscall(SYS_lseek, fd, 0, syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t done = placed ? syscall(SYS_pwrite64, fd, data, length, offset) : syscall(SYS_write, fd, data, length);
    if (done > 0) note('W', fd, 0, 0, 0, offset, data, done);
    if (what == 2) halfway();
    return done;
}

ssize_t write(int fd, const void *data, size_t length) { return written(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return written(fd, data, length, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return written(fd, data, length, offset, 1); }

static ssize_t scattered(int fd, const struct iovec *parts, int n, off_t offset, int placed) {
    ssize_t total = 0;
    for (int i = 0; i < n; i++) {
        ssize_t done = written(fd, parts[i].iov_base, parts[i].iov_len, offset + total, placed);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

ssize_t writev(int fd, const struct iovec *parts, int n) { return scattered(fd, parts, n, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) { return scattered(fd, parts, n, offset, 1); }
ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t offset) { return scattered(fd, parts, n, offset, 1); }

/* Copies within the kernel would pass by the journal: who asks for one falls back to read and write. */
ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) {
    if (known(to)) { errno = EINVAL; return -1; }
    return syscall(SYS_sendfile, to, from, offset, length);
}
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t length, unsigned flags) {
    if (known(to)) { errno = EXDEV; return -1; }
    return syscall(SYS_copy_file_range, from, at, to, there, length, flags);
}

ssize_t read(int fd, void *data, size_t length) {
    if (known(fd) && decide(READ)) return -1;
    return syscall(SYS_read, fd, data, length);
}
ssize_t pread(int fd, void *data, size_t length, off_t offset) {
    if (known(fd) && decide(READ)) return -1;
    return syscall(SYS_pread64, fd, data, length, offset);
}
ssize_t pread64(int fd, void *data, size_t length, off64_t offset) { return pread(fd, data, length, offset); }

int fsync(int fd) {
    if (known(fd) && decide(SYNC)) return -1;
    if (known(fd)) note('B', fd, 0, 0, 0, 0, 0, 0);
    int done = syscall(SYS_fsync, fd);
    if (!done && known(fd)) note('S', fd, 0, 0, 0, 0, 0, 0);
    return done;
}
int fdatasync(int fd) {
    if (known(fd) && decide(SYNC)) return -1;
    if (known(fd)) note('B', fd, 0, 0, 0, 0, 0, 0);
    int done = syscall(SYS_fdatasync, fd);
    if (!done && known(fd)) note('S', fd, 0, 0, 0, 0, 0, 0);
    return done;
}

int ftruncate(int fd, off_t length) {
    if (known(fd) && decide(SIZE)) return -1;
    int done = syscall(SYS_ftruncate, fd, length);
    if (!done && known(fd)) note('T', fd, 0, 0, 0, length, 0, 0);
    return done;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (known(fd) && decide(WRITE)) return -1;
    int done = syscall(SYS_fallocate, fd, mode, offset, length);
    if (!done && known(fd) && !mode) note('A', fd, 0, 0, 0, offset + length, 0, 0);
    return done;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

/* Names. */

static int renamed(int from, const char *old, int to, const char *new, unsigned flags) {
    char one[LONGEST], two[LONGEST];
    const char *before = below(from, old, one), *after = below(to, new, two);
    if ((before || after) && decide(RENAME)) return -1;
    int done = syscall(SYS_renameat2, from, old, to, new, flags);
    if (!done && before && after) note('R', 0, 0, before, after, 0, 0, 0);
    return done;
}
int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return renamed(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) { return renamed(from, old, to, new, flags); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    char one[LONGEST], two[LONGEST];
    const char *before = below(from, old, one), *after = below(to, new, two);
    if (after && decide(MAKE)) return -1;
    int done = syscall(SYS_linkat, from, old, to, new, flags);
    if (!done && before && after) note('L', 0, 0, before, after, 0, 0, 0);
    return done;
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int folder, const char *path, int flags) {
    char room[LONGEST];
    const char *full = below(folder, path, room);
    if (full && decide(UNLINK)) return -1;
    int done = syscall(SYS_unlinkat, folder, path, flags);
    if (!done && full) note(flags & AT_REMOVEDIR ? 'X' : 'U', 0, 0, full, 0, 0, 0, 0);
    return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
    char room[LONGEST];
    const char *full = below(folder, path, room);
    if (full && decide(MAKE)) return -1;
    int done = syscall(SYS_mkdirat, folder, path, mode);
    if (!done && full) note('D', 0, 0, full, 0, 0, 0, 0);
    return done;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* Maps, locks, the clock. */

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    if (!(flags & MAP_ANONYMOUS) && known(fd)) {
        if (decide(MAP)) return MAP_FAILED;
        if ((flags & MAP_SHARED) && (protection & PROT_WRITE)) note('M', fd, 0, paths[fd], 0, 0, 0, 0);
    }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    return mmap(at, length, protection, flags, fd, offset);
}

int flock(int fd, int what) {
    if (known(fd) && !(what & LOCK_UN) && decide(LOCK)) return -1;
    return syscall(SYS_flock, fd, what);
}

static int controlled(int fd, int command, void *argument) {
    int is_lock = command == F_SETLK || command == F_SETLKW;
    if (is_lock && known(fd) && ((struct flock *)argument)->l_type != F_UNLCK && decide(LOCK)) return -1;
    return syscall(SYS_fcntl, fd, command, argument);
}
int fcntl(int fd, int command, ...) { va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more); return controlled(fd, command, argument); }
int fcntl64(int fd, int command, ...) { va_list more; va_start(more, command); void *argument = va_arg(more, void *); va_end(more); return controlled(fd, command, argument); }

/* Ten years, forwards or backwards, and another way at every call. */
static long jump(void) {
    if (!clock_seed) return 0;
    clock_seed = clock_seed * 6364136223846793005L + 1442695040888963407L;
    return (long)((unsigned long)clock_seed >> 33) % 630720000 - 315360000;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, clock, now);
    if (!done && clock == CLOCK_REALTIME) now->tv_sec += jump();
    return done;
}
int gettimeofday(struct timeval *now, void *zone) {
    int done = syscall(SYS_gettimeofday, now, zone);
    if (!done) now->tv_sec += jump();
    return done;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
