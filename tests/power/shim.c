/* A power cut for tests: keeps, beside a folder, the image that a disk would hold if the power went now.
 *
 * Loaded with LD_PRELOAD. A write to a file under POSTBACK_POWER_FOLDER goes through as always and is noted; what was
 * noted reaches the image under POSTBACK_POWER_IMAGE when the file is synced. A name reaches the image when its folder
 * is synced. So the image holds what was promised and nothing else, but for the sectors that a real disk would have
 * written early: every noted write has a chance, drawn from POSTBACK_POWER_SEED, to leave some of its sectors there.
 *
 * The image: inode/<number> holds the content of a file as last synced, names/<folder> lists "<number> <name>" lines
 * as last synced, with / in the folder's path written as %. After a kill, tests build the folder anew from it.
 *
 * Only what the program under test uses is caught: write, pwrite, ftruncate, fsync, fdatasync. Reads and memory maps
 * see the live folder, as they would. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS 4096
#define SECTOR 512
#define EARLY_OUT_OF 64

struct range {
    off_t start, end;
};

static struct file {
    struct range *dirty;
    size_t count, room;
} files[FDS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *image;
static uint64_t seed;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_close)(int);

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_close = dlsym(RTLD_NEXT, "close");
    folder = getenv("POSTBACK_POWER_FOLDER");
    image = getenv("POSTBACK_POWER_IMAGE");
    const char *text = getenv("POSTBACK_POWER_SEED");
    seed = text ? strtoull(text, NULL, 10) * 2 + 1 : 1;
}

static uint64_t drawn(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Whether fd is something under the folder; its path then. */
static int is_watched(int fd, char path[PATH_MAX]) {
    char link[64];
    if (!folder || !image || fd < 0 || fd >= FDS) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int open_image(int fd) {
    struct stat facts;
    char path[PATH_MAX];
    if (fstat(fd, &facts) != 0) return -1;
    snprintf(path, sizeof path, "%s/inode/%llu", image, (unsigned long long)facts.st_ino);
    return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

static void copy(int from, int to, off_t start, off_t end) {
    char buffer[65536];
    while (start < end) {
        size_t wanted = (size_t)(end - start) < sizeof buffer ? (size_t)(end - start) : sizeof buffer;
        ssize_t got = pread(from, buffer, wanted, start);
        if (got <= 0) return;
        real_pwrite(to, buffer, (size_t)got, start);
        start += got;
    }
}

/* A file opened for writing only cannot be read through its own descriptor. */
static int readable(int fd) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return open(link, O_RDONLY | O_CLOEXEC);
}

static void note(int fd, off_t start, size_t length) {
    struct file *file = &files[fd];
    if (file->count && file->dirty[file->count - 1].end == start) {
        file->dirty[file->count - 1].end += (off_t)length;
    } else {
        if (file->count == file->room) {
            file->room = file->room ? file->room * 2 : 64;
            file->dirty = realloc(file->dirty, file->room * sizeof *file->dirty);
            if (!file->dirty) abort();
        }
        file->dirty[file->count++] = (struct range){start, start + (off_t)length};
    }
    if (drawn() % EARLY_OUT_OF == 0) {
        int from = readable(fd), to = open_image(fd);
        off_t sectors = ((off_t)length + SECTOR - 1) / SECTOR;
        off_t first = start + (off_t)(drawn() % (uint64_t)sectors) * SECTOR;
        copy(from, to, first, first + SECTOR < start + (off_t)length ? first + SECTOR : start + (off_t)length);
        real_close(from);
        real_close(to);
    }
}

static void keep_content(int fd) {
    struct file *file = &files[fd];
    struct stat facts;
    int from = readable(fd), to = open_image(fd);
    for (size_t at = 0; at < file->count; at++) copy(from, to, file->dirty[at].start, file->dirty[at].end);
    if (fstat(fd, &facts) == 0) real_ftruncate(to, facts.st_size);
    file->count = 0;
    real_close(from);
    real_close(to);
}

static void keep_names(const char *path) {
    char list[PATH_MAX * 2 + 16], fresh[sizeof list + 8], flat[PATH_MAX];
    snprintf(flat, sizeof flat, "%s", path);
    for (char *at = flat; *at; at++)
        if (*at == '/') *at = '%';
    snprintf(list, sizeof list, "%s/names/%s", image, flat);
    snprintf(fresh, sizeof fresh, "%s.fresh", list);
    FILE *out = fopen(fresh, "w");
    DIR *entries = opendir(path);
    for (struct dirent *entry; out && entries && (entry = readdir(entries));)
        if (entry->d_type == DT_REG) fprintf(out, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
    if (entries) closedir(entries);
    if (out) fclose(out);
    rename(fresh, list);
}

static void keep(int fd) {
    char path[PATH_MAX];
    struct stat facts;
    if (!is_watched(fd, path) || fstat(fd, &facts) != 0) return;
    pthread_mutex_lock(&lock);
    if (S_ISDIR(facts.st_mode)) keep_names(path);
    else keep_content(fd);
    pthread_mutex_unlock(&lock);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    int watched = is_watched(fd, path);
    off_t start = watched ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real_write(fd, bytes, length);
    if (watched && done > 0) {
        pthread_mutex_lock(&lock);
        note(fd, start, (size_t)done);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t start) {
    char path[PATH_MAX];
    int watched = is_watched(fd, path);
    ssize_t done = real_pwrite(fd, bytes, length, start);
    if (watched && done > 0) {
        pthread_mutex_lock(&lock);
        note(fd, start, (size_t)done);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t start) {
    return pwrite(fd, bytes, length, start);
}

int fsync(int fd) {
    int done = real_fsync(fd);
    if (done == 0) keep(fd);
    return done;
}

int fdatasync(int fd) {
    int done = real_fdatasync(fd);
    if (done == 0) keep(fd);
    return done;
}

/* A descriptor that is closed with unsynced writes takes its notes with it: they never reach the image, which is what
 * a power cut would do to them. */
int close(int fd) {
    if (fd >= 0 && fd < FDS) {
        pthread_mutex_lock(&lock);
        files[fd].count = 0;
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}
