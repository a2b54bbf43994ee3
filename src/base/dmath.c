/* log, exp, cos and integer powers in double from IEEE operations alone, so that they are the
 * same on every machine. */
#include "base/dmath.h"
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Plain additions, multiplications and divisions only: IEEE rounds each of them the same
 * way on every machine. FMA would be slow where the hardware lacks it, so exact products
 * are made by splitting (Dekker 1971). */

typedef struct double_double {
    double hi, lo; /* the value hi + lo, |lo| <= ulp(hi) / 2 */
} double_double;

/* x's upper 26 bits, rounded: the rest x - upper(x) has at most 26 bits as well. */
static double split_high(double x) {
    double t = 0x1.0000002p27 * x; /* 2^27 + 1 */
    return t - (t - x);
}

static double_double two_product(double a, double b) {
    double p = a * b;
    double ah = split_high(a), al = a - ah, bh = split_high(b), bl = b - bh;
    double e = al * bl - (((p - ah * bh) - al * bh) - ah * bl);
    return (double_double){p, isfinite(e) ? e : 0.0};
}

static double_double multiply_dd(double_double a, double_double b) {
    double_double p = two_product(a.hi, b.hi);
    if (!isfinite(p.hi)) {
        return p;
    }
    double e = p.lo + (a.hi * b.lo + a.lo * b.hi);
    double s = p.hi + e;
    return (double_double){s, e - (s - p.hi)};
}

double dp_dlog(double x) {
    assert(x > 0 && x <= 0x1p1000);
    int k = 0;
    if (x < 0x1p-1022) { /* subnormal */
        x *= 0x1p54;
        k = -54;
    }
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    k += (int)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6a09e667f3bcdp0) { /* sqrt(2): keep m in (sqrt(1/2), sqrt(2)] */
        m *= 0.5;
        k++;
    }
    /* log(1+f) = 2 atanh(s), s = f/(2+f); with 2s = f - f^2/2 + s f^2/2 the large part,
     * f, is exact and every rounding falls on a small one. |s| <= 0.172: 12 terms reach
     * 2^-60. */
    double f = m - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double r = 0;
    for (int i = 25; i >= 3; i -= 2) {
        r = r * z + 2.0 / i;
    }
    double h = 0.5 * f * f;
    double small = s * (h + r * z);
    const double ln2_hi = 0x1.62e42fefa38p-1; /* 42 bits: k * ln2_hi is exact */
    const double ln2_lo = 0x1.ef35793c7673p-45;
    return k * ln2_hi - ((h - (small + k * ln2_lo)) - f);
}

double dp_dexp(double x) {
    assert(x >= -700 && x <= 700);
    const double ln2_hi = 0x1.62e42fefa38p-1; /* 42 bits: k * ln2_hi is exact */
    const double ln2_lo = 0x1.ef35793c7673p-45;
    int k = (int)floor(x * 0x1.71547652b82fep0 + 0.5);
    double hi = x - k * ln2_hi, lo = k * ln2_lo;
    double r = hi - lo; /* |r| <= 0.347: 13 terms reach 2^-58 */
    double term = 0;
    for (int i = 13; i >= 2; i--) {
        term = (1.0 + term) * r / i;
    }
    /* 1 + r + r term, and what r has lost */
    return ldexp(1.0 + (r + (r * term + ((hi - r) - lo))), k);
}

/* sin(t) for |t| <= pi/4; the argument in two parts, since its relative error stays. */
static double small_sine(double_double t) {
    double z = t.hi * t.hi;
    double term = 0;
    for (int i = 19; i >= 3; i -= 2) {
        term = -(1.0 + term) * z / (i * (i - 1));
    }
    return t.hi + (t.lo + t.hi * term);
}

static double small_cosine(double_double t) {
    double z = t.hi * t.hi;
    double term = 0;
    for (int i = 18; i >= 4; i -= 2) {
        term = -(1.0 + term) * z / (i * (i - 1));
    }
    return 1.0 - (0.5 * z * (1.0 + term) + t.hi * t.lo);
}

double dp_dcos2pi(double x) {
    assert(x >= -1 && x <= 1);
    int quarter = (int)(4.0 * x + (x < 0 ? -0.5 : 0.5));
    double r = x - 0.25 * quarter; /* exact; |r| <= 1/8 */
    double_double t = two_product(r, 0x1.921fb54442d18p2);
    t.lo += r * 0x1.1a62633145c07p-52; /* the rest of 2 pi */
    switch (quarter & 3) {
    case 0:
        return small_cosine(t);
    case 1:
        return -small_sine(t);
    case 2:
        return -small_cosine(t);
    default:
        return small_sine(t);
    }
}

double dp_dpow(double x, long n) {
    assert(n >= 0);
    double_double power = {1.0, 0.0}, square = {x, 0.0};
    for (; n > 0; n >>= 1) {
        if (n & 1) {
            power = multiply_dd(power, square);
        }
        if (n > 1) {
            square = multiply_dd(square, square);
        }
    }
    return power.hi;
}
