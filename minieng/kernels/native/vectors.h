/* Numbers and vectors: float or bfloat16 in memory, float in registers.
 *
 * The six files are one translation unit (layers.c includes the others), compiled for float; for bfloat16
 * (BF16); and for bfloat16 in the cache, with all other numbers in float, but rounded where bfloat16 would
 * round them (BF16 and WIDENED). See native.py. What is marked EXPORT is called from Python. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

/* The same 32 bits as a number and as a word. */
union bits {
    uint32_t word;
    float number;
};

/* LANES: numbers in a vector register. A tile of a product (products.h) is up to TALL rows by WIDE vectors:
 * as many sums as registers hold, beside a line of the weight and a number of x. Never more numbers: a vec of
 * two registers is kept in memory by GCC, and such a product takes six times as long.
 *
 * KEEP_IN_REGISTER: a value that the compiler would rather load anew for each use, where loads bound the
 * loop. LOAD_ANEW: the address of one that it would rather keep, where all registers are needed for sums. */
#ifdef __AVX512F__
#define LANES 16
#define WIDE 3
#define TALL 9 /* 27 of 32 registers for sums, 3 for a line */
#define KEEP_IN_REGISTER(x) __asm__("" : "+v"(x))
#else
#ifdef __AVX__
#define LANES 8
#else
#define LANES 4
#endif
#define WIDE (16 / LANES)
#define TALL 6 /* AVX2: 12 of 16 registers for sums, 2 for a line; NEON: 24 of 32, and 4 */
#define KEEP_IN_REGISTER(x) (void)(x)
#endif
#define LOAD_ANEW(address) __asm__("" : "+r"(address))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef vec vec_anywhere __attribute__((aligned(2), may_alias));
typedef words words_anywhere __attribute__((aligned(2), may_alias));

/* A vec from any address (vec_anywhere: C would else take it for a multiple of 64), and back. + and * of vecs
 * go number by number, as in numpy; so do comparisons, whose yes is -1, all bits set. */
static inline vec floats(const float *x) { return *(const vec_anywhere *)x; }
static inline void put(float *into, vec x) { *(vec_anywhere *)into = x; }
/* Of each two numbers the first where yes (-1), else the second (0): numpy's where. */
static inline vec choose(ints yes, vec a, vec b) { return (vec)((yes & (ints)a) | (~yes & (ints)b)); }

/* The lower and the upper bfloat16 of LANES words, as floats: a bfloat16 is the upper half of one. */
static inline vec lower(const void *x) { return (vec)(*(const words_anywhere *)x << 16); }
static inline vec upper(const void *x) { return (vec)(*(const words_anywhere *)x & 0xffff0000); }

/* The bfloat16 nearest to a number, ties to even as in torch, as a word and as a vector of such. */
static inline uint32_t rounded(float x) {
    const uint32_t word = ((union bits){.number = x}).word;
    return (word + 0x7fff + ((word >> 16) & 1)) >> 16;
}
static inline words rounded_words(vec x) {
    const words word = (words)x;
    return (word + 0x7fff + ((word >> 16) & 1)) >> 16;
}
static inline float number(uint32_t bfloat16) { return ((union bits){bfloat16 << 16}).number; }

/* kv_t: a number in the cache; num_t: any other one in memory. load, numbers: one, LANES of them as floats;
 * save, put_numbers: back again, rounded where memory holds bfloat16. as_saved: rounded alike, still floats.
 */
#ifdef BF16
typedef uint16_t kv_t;
typedef kv_t halves __attribute__((vector_size(2 * LANES)));
typedef halves halves_anywhere __attribute__((aligned(2), may_alias));
static inline float load_kv(kv_t x) { return number(x); }
static inline vec kv_numbers(const kv_t *x) {
    return (vec)(__builtin_convertvector(*(const halves_anywhere *)x, words) << 16);
}
#else
typedef float kv_t;
static inline float load_kv(kv_t x) { return x; }
static inline vec kv_numbers(const kv_t *x) { return floats(x); }
#endif

#if defined BF16 && !defined WIDENED
typedef uint16_t num_t;
static inline float load(num_t x) { return number(x); }
static inline num_t save(float x) { return (num_t)rounded(x); }
static inline vec numbers(const num_t *x) { return kv_numbers(x); }
static inline vec as_saved(vec x) { return (vec)(rounded_words(x) << 16); }
static inline void put_numbers(num_t *into, vec x) {
    *(halves_anywhere *)into = __builtin_convertvector(rounded_words(x), halves);
}
#else
typedef float num_t;
static inline float load(num_t x) { return x; }
static inline vec numbers(const num_t *x) { return floats(x); }
#ifdef WIDENED
static inline num_t save(float x) { return number(rounded(x)); }
static inline vec as_saved(vec x) { return (vec)(rounded_words(x) << 16); }
#else
static inline num_t save(float x) { return x; }
static inline vec as_saved(vec x) { return x; }
#endif
static inline void put_numbers(num_t *into, vec x) { put(into, as_saved(x)); }
#endif

/* A saved number as the cache keeps it. */
static inline kv_t save_kv(num_t x) {
#if defined BF16 && defined WIDENED
    return (kv_t)rounded(x);
#else
    return x;
#endif
}

/* e^x for x <= 0, to a relative error below 2e-7; unlike the library's, compilers turn it into vector code.
 * e^x = 2^n e^r with n = round(x / ln 2), r = x - n ln 2 (ln 2 in two parts: its first has few bits, so that
 * n times it is exact); the polynomial for e^r on [-ln2/2, ln2/2] is the one of Cephes' expf. */
static inline float exp_negative(float x) {
    x = x < -87.0f ? -87.0f : x;
    const float n = __builtin_rintf(x * 1.44269504f);
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * ((union bits){(uint32_t)((int32_t)n + 127) << 23}).number; /* times 2^n */
}

#define LOG2_E 1.44269504f
/* In place of a score that is not seen; finite: -inf - -inf would be NaN, these differ by 0. */
#define LOWEST -1e30f

/* 2^x for x <= 0, to a relative error below 2e-7, and 0 below 2^-126: as above, with the polynomial of
 * Cephes' exp2f. Turned into ints, x - 0.5 loses its fraction: of a negative x that is round(x). */
static inline vec exp2_negative(vec x) {
    const ints n = __builtin_convertvector(x - 0.5f, ints);
    const vec r = x - __builtin_convertvector(n, vec);
    vec p = r * 1.535336188319500e-4f + 1.339887440266574e-3f;
    p = p * r + 9.618437357674640e-3f;
    p = p * r + 5.550332471162809e-2f;
    p = p * r + 2.402264791363012e-1f;
    p = p * r + 6.931472028550421e-1f;
    p = p * r + 1.0f;
    return choose(x < -126.0f, (vec){0}, (vec)((ints)p + (n << 23)));
}

#define SHARED_WORK 16384 /* numbers; for fewer, waking another thread costs more than it saves */

static inline float total_of(vec x) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
}
