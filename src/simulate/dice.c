#include "simulate/simulate_internal.h"

#include <math.h>

/* splitmix64: spreads a seed, also a small one, over all bits. */
static uint64_t spread(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void dice_init(struct dice *d, uint64_t seed, uint64_t number)
{
    uint64_t x = seed;
    x = spread(&x) ^ number;
    for (int i = 0; i < 4; i++)
        d->state[i] = spread(&x);
}

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

uint64_t dice_next(struct dice *d)
{
    uint64_t *s = d->state, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double dice_uniform(struct dice *d)
{
    return (double)(dice_next(d) >> 11) * 0x1p-53;
}

static double normal(struct dice *d)
{
    double radius = sqrt(-2 * log1p(-dice_uniform(d)));
    return radius * cos(2 * M_PI * dice_uniform(d));
}

/* exp(-mean) must not underflow, and a sum of Poisson numbers is one: so it comes in pieces. */
static const double POISSON_PIECE = 32, NORMAL_FROM = 400;

static uint64_t poisson_piece(struct dice *d, double mean)
{
    double u = dice_uniform(d), chance = exp(-mean);
    uint64_t n = 0;
    for (; u >= chance && n < 1000; n++) {
        u -= chance;
        chance *= mean / (double)(n + 1);
    }
    return n;
}

uint64_t dice_poisson(struct dice *d, double mean)
{
    if (mean >= NORMAL_FROM) {
        double n = mean + sqrt(mean) * normal(d);
        return n > 0 ? (uint64_t)llround(n) : 0;
    }
    uint64_t n = 0;
    while (mean > POISSON_PIECE) {
        n += poisson_piece(d, POISSON_PIECE);
        mean -= POISSON_PIECE;
    }
    return mean > 0 ? n + poisson_piece(d, mean) : n;
}

/* One by one while they are few; then by inversion, in pieces of which none underflows. */
enum { ONE_BY_ONE = 12, BINOMIAL_PIECE = 512 };

static uint64_t binomial_piece(struct dice *d, uint64_t n, double p)
{
    double u = dice_uniform(d), odds = p / (1 - p);
    double chance = exp((double)n * log1p(-p));
    uint64_t k = 0;
    for (; u >= chance && k < n; k++) {
        u -= chance;
        chance *= odds * (double)(n - k) / (double)(k + 1);
    }
    return k;
}

uint64_t dice_binomial(struct dice *d, uint64_t n, double p)
{
    uint64_t k = 0;
    if (p <= 0 || n == 0)
        return 0;
    if (p >= 1)
        return n;
    if (p > .5)
        return n - dice_binomial(d, n, 1 - p);
    double variance = (double)n * p * (1 - p);
    if (variance >= NORMAL_FROM) {
        double x = (double)n * p + sqrt(variance) * normal(d);
        return x <= 0 ? 0 : x >= (double)n ? n : (uint64_t)llround(x);
    }
    if (n <= ONE_BY_ONE) {
        for (uint64_t i = 0; i < n; i++)
            k += dice_uniform(d) < p;
        return k;
    }
    for (; n > BINOMIAL_PIECE; n -= BINOMIAL_PIECE)
        k += binomial_piece(d, BINOMIAL_PIECE, p);
    return k + binomial_piece(d, n, p);
}
