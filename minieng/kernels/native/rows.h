/* What lies between the products, one row at a time: norm, rotary embedding, gate, and keys and values on
 * their way to the cache. */

/* Copy a token's k and v [width] to its slot in the caches. */
INLINE void store_token(const struct cache *c, const num_t *k, const num_t *v, int64_t slot, int64_t width) {
    for (int64_t i = 0; i < width; i++) c->k[slot * width + i] = save_kv(k[i]);
    for (int64_t i = 0; i < width; i++) c->v[slot * width + i] = save_kv(v[i]);
}

/* k, v [tokens, width], whose rows lie k_step and v_step apart. */
EXPORT void native_store(const struct cache *c, const num_t *k, int64_t k_step, const num_t *v,
                         int64_t v_step, const int64_t *slots, int64_t tokens, int64_t width) {
    for (int64_t t = 0; t < tokens; t++) store_token(c, k + t * k_step, v + t * v_step, slots[t], width);
}

/* out = x / rms(x) * weight of one row; the quotient is rounded before it is weighted, as torch does it. out
 * may be x. */
static void norm_row(const num_t *x, const num_t *weight, num_t *out, int64_t width, float eps) {
    float squares = 0;
    for (int64_t i = 0; i < width; i++) squares += load(x[i]) * load(x[i]);
    const float scale = 1.0f / sqrtf(squares / width + eps);
#pragma omp simd /* turns of the loop may be computed side by side, in vectors */
    for (int64_t i = 0; i < width; i++) out[i] = save(load(save(load(x[i]) * scale)) * load(weight[i]));
}

/* What a call on rows computes (each uses some of these): its arguments, under the names that they have
 * there. */
struct on_rows {
    const num_t *x, *weight, *cosine, *sine;
    num_t *out;
    int64_t rows, width, heads, step;
    float eps;
};

static void norm_rows(const void *job, struct worker *w) {
    const struct on_rows *j = job;
    EACH (r, j->rows, w) norm_row(j->x + r * j->width, j->weight, j->out + r * j->width, j->width, j->eps);
}

EXPORT void native_norm(const num_t *x, const num_t *weight, num_t *out, int64_t rows, int64_t width,
                        float eps, int64_t threads) {
    const struct on_rows job = {
        .x = x, .weight = weight, .out = out, .rows = rows, .width = width, .eps = eps};
    run_team(norm_rows, &job, rows * width > SHARED_WORK ? threads : 1);
}

/* Rotary embedding of one token's heads in place: x [heads, dim]; cosine, sine [dim], the first half of sine
 * negated. */
static void rotate_row(num_t *x, const num_t *cosine, const num_t *sine, int64_t heads, int64_t dim) {
    const int64_t half = dim / 2;
    for (int64_t h = 0; h < heads; h++) {
        num_t *low = x + h * dim, *high = low + half;
        for (int64_t i = 0; i < half; i++) {
            const float a = load(low[i]), b = load(high[i]);
            low[i] = save(a * load(cosine[i]) + b * load(sine[i]));
            high[i] = save(b * load(cosine[i + half]) + a * load(sine[i + half]));
        }
    }
}

static void rotate_rows(const void *job, struct worker *w) {
    const struct on_rows *j = job;
    EACH (r, j->rows, w)
        rotate_row(j->out + r * j->step, j->cosine + r * j->width, j->sine + r * j->width, j->heads,
                   j->width);
}

/* x [rows, heads, dim], whose rows lie step apart; cosine, sine [rows, dim] */
EXPORT void native_rotate(num_t *x, const num_t *cosine, const num_t *sine, int64_t rows, int64_t heads,
                          int64_t dim, int64_t step, int64_t threads) {
    const struct on_rows job = {
        .out = x, .cosine = cosine, .sine = sine, .rows = rows, .width = dim, .heads = heads, .step = step};
    run_team(rotate_rows, &job, rows * heads * dim > SHARED_WORK ? threads : 1);
}

/* out = silu(gate) * up of one row [gate, up], width numbers each; out may be gate. silu(g) = g / (1 + e^-g),
 * for a negative g as g e^g / (1 + e^g): exp_negative takes no other, and nothing overflows. */
static void silu_row(const num_t *gate_up, num_t *out, int64_t width) {
#pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        const float gate = load(gate_up[i]), e = exp_negative(gate < 0 ? gate : -gate);
        out[i] = save(gate * (gate < 0 ? e : 1.0f) / (1.0f + e) * load(gate_up[width + i]));
    }
}

static void silu_rows(const void *job, struct worker *w) {
    const struct on_rows *j = job;
    EACH (r, j->rows, w) silu_row(j->x + r * 2 * j->width, j->out + r * j->width, j->width);
}

EXPORT void native_silu(const num_t *gate_up, num_t *out, int64_t rows, int64_t width, int64_t threads) {
    const struct on_rows job = {.x = gate_up, .out = out, .rows = rows, .width = width};
    run_team(silu_rows, &job, rows * width > SHARED_WORK ? threads : 1);
}
