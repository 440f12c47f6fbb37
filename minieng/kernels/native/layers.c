/* What a CPU computes of a model, in C: matrix products with few to a few hundred rows, paged attention, and
 * what lies between them (norm, rotary embedding, gate), each in one pass where torch takes several; and
 * whole layers made of these, without a way back to Python between them. What a row gets depends on the row
 * alone, never on its neighbours in the batch. README.md beside this file draws how it works. */
#include "vectors.h"
#include "team.h"
#include "products.h"
#include "attention.h"
#include "rows.h"

#ifdef PRODUCTS
/* A decoder layer of the Llama family: norms [hidden] (those of queries and keys [dim], or null), products.
 */
struct layer {
    const num_t *input_norm, *post_norm, *q_norm, *k_norm;
    struct weight qkv, o, gate_up, down;
};

/* A step through all layers: x [tokens, hidden] in place; cosine, sine [tokens, dim]; slots [tokens];
 * buffers: as many numbers as native_buffer_size says; scratch: native_scratch_size for each thread. After
 * the last layer's attention only the rows ``wanted`` [num_wanted] (whose logits are asked for; in rising
 * order) go on, and are the first ones of x at the end. inner: numbers of gate or up. */
struct forward {
    const struct layer *layers;
    const struct cache *caches;
    const struct step *step;
    const num_t *cosine, *sine;
    const int64_t *slots, *wanted;
    num_t *x, *buffers;
    float *scratch;
    int64_t num_layers, tokens, num_wanted, hidden, inner;
    float eps;
};

/* How far apart a buffer's rows begin: further than they are long. A number's address says which few places
 * of the cache (a set) may hold it: rows a power of two apart would all crowd into the same. */
static int64_t row_stride(int64_t width) { return (width + LANES - 1) / LANES * LANES + LANES; }

/* Where the rows between two products lie: normed ones; queries, keys and values; gate and up. */
struct buffers {
    struct matrix normed, qkv, mlp;
};

static struct buffers buffers_of(const struct forward *f) {
    const int64_t qkv_width = (f->step->heads + 2 * f->step->kv_heads) * f->step->dim;
    struct buffers b = {
        {f->buffers, row_stride(f->hidden)}, {0, row_stride(qkv_width)}, {0, row_stride(2 * f->inner)}};
    b.qkv.x = b.normed.x + f->tokens * b.normed.step;
    b.mlp.x = b.qkv.x + f->tokens * b.qkv.step;
    return b;
}

/* Numbers of buffers that native_layers needs. */
EXPORT int64_t native_buffer_size(const struct forward *f) {
    const struct buffers b = buffers_of(f);
    return f->tokens * (b.normed.step + b.qkv.step + b.mlp.step);
}

static struct matrix from_row(struct matrix m, int64_t row) {
    return (struct matrix){m.x + row * m.step, m.step};
}

/* From a layer's input to rotated queries in the buffer, and keys and values in the cache; n rows, from at
 * on. w: null for a thread that works for itself. */
static void before_attention(const struct forward *f, int64_t number, int64_t at, int64_t n, struct worker *w,
                             struct upcoming_kv *kv) {
    const struct layer *layer = f->layers + number;
    const struct step *s = f->step;
    const int64_t dim = s->dim, heads = s->heads + s->kv_heads;
    const struct buffers b = buffers_of(f);
    const struct matrix x = from_row((struct matrix){f->x, f->hidden}, at);
    const struct matrix normed = from_row(b.normed, at), qkv = from_row(b.qkv, at);
    EACH (r, n, w)
        norm_row(x.x + r * x.step, layer->input_norm, normed.x + r * normed.step, f->hidden, f->eps);
    product(normed, &layer->qkv, qkv, n, 0, w, &layer->o, kv);
    EACH (r, n, w) {
        num_t *q = qkv.x + r * qkv.step, *k = q + s->heads * dim, *v = k + s->kv_heads * dim;
        for (int64_t h = 0; layer->q_norm && h < heads; h++)
            norm_row(q + h * dim, h < s->heads ? layer->q_norm : layer->k_norm, q + h * dim, dim, f->eps);
        rotate_row(q, f->cosine + (at + r) * dim, f->sine + (at + r) * dim, heads, dim);
        store_token(f->caches + number, k, v, f->slots[at + r], s->kv_heads * dim);
    }
}

/* From attention's answer, which has taken the queries' place in b.qkv, to the layer's output; ``add`` is 1
 * where x, the residual, is added to. */
static void after_attention(const struct forward *f, int64_t number, int64_t at, int64_t n, struct worker *w,
                            struct upcoming_kv *kv) {
    const struct layer *layer = f->layers + number;
    const struct buffers b = buffers_of(f);
    const struct matrix x = from_row((struct matrix){f->x, f->hidden}, at);
    const struct matrix normed = from_row(b.normed, at), mlp = from_row(b.mlp, at);
    product(from_row(b.qkv, at), &layer->o, x, n, 1, w, &layer->gate_up, kv);
    EACH (r, n, w)
        norm_row(x.x + r * x.step, layer->post_norm, normed.x + r * normed.step, f->hidden, f->eps);
    product(normed, &layer->gate_up, mlp, n, 0, w, &layer->down, kv);
    EACH (r, n, w) silu_row(mlp.x + r * mlp.step, mlp.x + r * mlp.step, f->inner);
    product(mlp, &layer->down, x, n, 1, w, number + 1 < f->num_layers ? &layer[1].qkv : 0, kv);
}

/* What lies between the attention of layer number - 1 and that of layer number, for all rows. Few rows: all
 * threads work on all of them, each with its part of a weight, which is read once. Many: a piece is a BLOCK
 * of rows, whose numbers stay in a thread's cache from one product to the next. So w, which shares
 * out, goes to the phases inside or to the blocks: never to both. */
#define BLOCK (5 * TALL)
static void between_attentions(const struct forward *f, int64_t number, int64_t rows, struct worker *w,
                               struct upcoming_kv *kv) {
    const int64_t team = w->team->size, few = rows < BLOCK * team;
    const int64_t blocks = few ? 1 : (rows + BLOCK * team - 1) / (BLOCK * team) * team;
    EACH (i, blocks, few ? 0 : w) {
        const int64_t at = begin_of(rows, i, blocks), n = begin_of(rows, i + 1, blocks) - at;
        if (number > 0) after_attention(f, number - 1, at, n, few ? w : 0, kv);
        if (number < f->num_layers) before_attention(f, number, at, n, few ? w : 0, kv);
    }
}

/* Move the wanted rows to the front of x and of attention's answer. */
static void keep_wanted(const struct forward *f) {
    const struct matrix answer = buffers_of(f).qkv;
    const int64_t width = f->step->heads * f->step->dim;
    for (int64_t r = 0; r < f->num_wanted; r++) {
        memmove(f->x + r * f->hidden, f->x + f->wanted[r] * f->hidden, sizeof(num_t) * f->hidden);
        memmove(answer.x + r * answer.step, answer.x + f->wanted[r] * answer.step, sizeof(num_t) * width);
    }
}

/* What one thread does of all layers. */
static void run_layers(const void *job, struct worker *w) {
    const struct forward *f = job;
    const struct matrix qkv = buffers_of(f).qkv;
    struct upcoming_kv kv = {f->step, f->caches, w->me, 0, w->team->size};
    between_attentions(f, 0, f->tokens, w, &kv);
    for (int64_t i = 0; i < f->num_layers; i++) {
        const int last = i + 1 == f->num_layers;
        /* the answer takes the place of the query */
        attend_rows(f->step, f->caches + i, qkv.x, qkv.step, qkv.x, qkv.step, f->scratch, w);
        /* from here on products have the next layer's blocks brought */
        kv.cache = last ? 0 : f->caches + i + 1, kv.task = w->me, kv.slot = 0;
        if (last && f->num_wanted < f->tokens)
            EACH (once, 1, w) keep_wanted(f); /* one thread does, all wait for it */
        between_attentions(f, i + 1, last ? f->num_wanted : f->tokens, w, &kv);
    }
}

EXPORT void native_layers(const struct forward *f, int64_t threads) { run_team(run_layers, f, threads); }
#endif
