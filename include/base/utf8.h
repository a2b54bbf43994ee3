/** UTF-8: what is a character, and what a terminal may be shown. */
#ifndef DP_BASE_UTF8_H
#define DP_BASE_UTF8_H

#include <stddef.h>

/** Bytes of the character at s[0..left), left >= 1; 0 if it is none. Shortest forms
 *  only. */
size_t dp_utf8(const char *s, size_t left);

/** text -> out[size], cut where it ends: a terminal does nothing but show it. Control
 *  characters (C0 but TAB, DEL, C1) and bytes that are not UTF-8 become \x1b and the
 *  like. */
void dp_utf8_printable(const char *text, char *out, size_t size);

#endif
