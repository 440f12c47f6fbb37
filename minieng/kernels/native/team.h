/* The threads that compute a call together: the caller's own and some that sleep between calls.
 *
 * Work comes in phases of so many pieces each. Every thread runs through all phases and asks in each for one
 * piece after the other: first those of its own share, in order, so that a weight streams; then what is left
 * of the others' shares. A thread that has lost its core thus holds up nobody but for the one piece in its
 * hands. Who waits looks again for some microseconds, then sleeps. What a piece computes never depends on who
 * computes it.
 *
 * _Atomic: a number that several threads read and write; each change is whole, and all see the changes in one
 * order. atomic_compare_exchange changes it only if it still is what was read; if not, it reads it anew. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define MOST_THREADS 256
#define LOOKS 2000 /* at a word that is about to change, before a thread goes to sleep: some 20 to 60 us */

#if defined __x86_64__ || defined __i386__
#define RELAX() __builtin_ia32_pause()
#elif defined __aarch64__
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() (void)0
#endif

/* size: threads of this call, the caller's being number 0. taken: of each one's share, the phase in the upper
 * half and how many pieces are gone in the lower: in one number, so that who comes late from the phase before
 * cannot take one of this. first_phase: of this call, they are counted on from call to call. done: pieces of
 * the phase that are computed. call: goes up with each call; joined: threads beside the caller's that are at
 * it, CLOSED while there is none. */
struct worker;
struct team {
    int64_t size;
    void (*work)(const void *job, struct worker *w);
    const void *job;
    uint32_t first_phase;
    _Atomic uint32_t phase, done, call, joined, sleepers;
    struct {
        _Alignas(64) _Atomic uint64_t count; /* a cache line for each */
    } taken[MOST_THREADS];
    pthread_mutex_t busy, lock;
    pthread_cond_t changed;
    int64_t threads;
};
#define CLOSED UINT32_MAX

/* A thread at work: where it stands. done: pieces of this phase that it has computed. */
struct worker {
    struct team *team;
    int64_t me;
    uint32_t phase, done;
};

static struct team pool;

/* At the beginning, and in a child that was forked: threads stay with the parent. */
static void forget_threads(void) {
    memset(&pool, 0, sizeof(pool));
    pool.joined = CLOSED;
    pthread_mutex_init(&pool.busy, 0);
    pthread_mutex_init(&pool.lock, 0);
    pthread_cond_init(&pool.changed, 0);
}

__attribute__((constructor)) static void when_loaded(void) {
    forget_threads();
    pthread_atfork(0, 0, forget_threads);
}

/* Until a word is another. Whoever lets others go on by a change calls wake: a sleeper has been counted
 * before it looks for the last time, so that either it sees the change or is seen by wake. */
static void wait_while(struct team *team, _Atomic uint32_t *word, uint32_t is) {
    for (int i = 0; i < LOOKS; i++) {
        if (*word != is) return;
        RELAX();
    }
    pthread_mutex_lock(&team->lock);
    team->sleepers++;
    while (*word == is) pthread_cond_wait(&team->changed, &team->lock);
    team->sleepers--;
    pthread_mutex_unlock(&team->lock);
}

static void wake(struct team *team) {
    if (!team->sleepers) return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
}

/* phase is written last: who waits for it finds the rest ready. */
static void begin_phase(struct team *team, uint32_t phase) {
    team->done = 0;
    for (int64_t t = 0; t < team->size; t++) team->taken[t].count = (uint64_t)phase << 32;
    team->phase = phase;
}

/* The first of a share's pieces of n. */
static int64_t begin_of(int64_t n, int64_t share, int64_t shares) { return n * share / shares; }

/* A piece out of the phase's n for this thread; or -1 once all are computed, by whomever: then the next phase
 * begins, and who finds nothing left to take waits for that. dealt: as cards are, a share is every size-th
 * piece, not so many in a row: where the largest come first. n = 0 is no phase: nobody waits. */
static int64_t next_piece(struct worker *w, int64_t n, int dealt) {
    struct team *team = w->team;
    for (int64_t i = 0; i < team->size && n > 0; i++) {
        const int64_t owner = w->me + i < team->size ? w->me + i : w->me + i - team->size;
        const int64_t first = dealt ? owner : begin_of(n, owner, team->size);
        const int64_t end = dealt ? n : begin_of(n, owner + 1, team->size), step = dealt ? team->size : 1;
        uint64_t taken = team->taken[owner].count;
        while (taken >> 32 == w->phase && first + (int64_t)(uint32_t)taken * step < end)
            if (atomic_compare_exchange_weak(&team->taken[owner].count, &taken, taken + 1)) {
                w->done++;
                return first + (int64_t)(uint32_t)taken * step;
            }
    }
    if (n <= 0) return -1;
    const uint32_t mine = w->done; /* told once, at its end; who tells the last of n begins the next phase */
    if (mine && atomic_fetch_add(&team->done, mine) + mine == n) {
        begin_phase(team, w->phase + 1);
        wake(team);
    } else wait_while(team, &team->phase, w->phase);
    w->phase++, w->done = 0;
    return -1;
}

/* i = 0 … n - 1: those that this thread gets of a team's, or all of them where w is null and the thread works
 * for itself. After it all n are computed, not this thread's alone: what follows may read what others wrote.
 */
#define EACH(i, n, w) for (int64_t i = -1; (i = (w) ? next_piece(w, n, 0) : i + 1 < (n) ? i + 1 : -1) >= 0;)

/* What the threads beside the caller's do all their lives: a call's work, unless it is over already (CLOSED):
 * its job is the caller's, and gone. */
static void *live(void *number) {
    uint32_t seen = 0;
    for (;;) {
        wait_while(&pool, &pool.call, seen);
        seen = pool.call;
        uint32_t others = pool.joined;
        while (others != CLOSED && !atomic_compare_exchange_weak(&pool.joined, &others, others + 1)) {}
        if (others == CLOSED) continue;
        struct worker w = {&pool, (int64_t)number, pool.first_phase, 0};
        if (w.me < pool.size) pool.work(pool.job, &w);
        pool.joined--;
        wake(&pool);
    }
    return 0;
}

/* Start threads until there are so many, the caller's among them; returns how many there are. They hear no
 * signals: those are for the interpreter's threads. */
static int64_t start_threads(int64_t wanted) {
    sigset_t all, before;
    pthread_t thread;
    if (!pool.threads) pool.threads = 1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.threads < wanted && !pthread_create(&thread, 0, live, (void *)pool.threads)) {
        pthread_detach(thread);
        pool.threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    return pool.threads < wanted ? pool.threads : wanted;
}

/* Have so many threads compute a job. The caller computes alone where one is enough, or where the others are
 * at another caller's. It returns when all who joined have left: they read its job. */
static void run_team(void (*work)(const void *job, struct worker *w), const void *job, int64_t threads) {
    if (threads <= 1 || pthread_mutex_trylock(&pool.busy)) {
        struct team alone = {.size = 1};
        work(job, &(struct worker){&alone, 0, 0, 0});
        return;
    }
    pool.size = start_threads(threads < MOST_THREADS ? threads : MOST_THREADS);
    pool.work = work, pool.job = job, pool.first_phase = pool.phase;
    begin_phase(&pool, pool.phase);
    pool.joined = 0;
    pool.call++;
    wake(&pool);
    work(job, &(struct worker){&pool, 0, pool.first_phase, 0});
    for (uint32_t others = 0; !atomic_compare_exchange_strong(&pool.joined, &others, CLOSED); others = 0)
        wait_while(&pool, &pool.joined, others);
    pthread_mutex_unlock(&pool.busy);
}
