/** Our own log, exp, cos and power in double: no libm result may reach a number, since libm
 *  differs between machines. Error below 2 ulp in the ranges named. */
#ifndef DP_BASE_DMATH_H
#define DP_BASE_DMATH_H

/** Natural logarithm of x in (0, 2^1000]. */
double dp_dlog(double x);

/** e to the power x in [-700, 700]. */
double dp_dexp(double x);

/** Cosine of 2 pi x, x in [-1, 1]. */
double dp_dcos2pi(double x);

/** x to the integer power n >= 0, by squaring. */
double dp_dpow(double x, long n);

#endif
