#ifndef ROMAN_H
#define ROMAN_H

#include <stddef.h>

/* The largest number that Roman numerals can write without a bar. */
#define ROMAN_MAX 3999

/* The length of the longest numeral, MMMDCCCLXXXVIII, with its final NUL. */
#define ROMAN_SIZE 16

/*
 * Writes the Roman numeral of number, 1 to ROMAN_MAX, into text.
 * Returns 0, or -1 if the number is out of range or the text is too small.
 */
int roman_format(int number, char *text, size_t size);

/* Returns the number of a Roman numeral, or -1 if the text is none. */
int roman_parse(const char *text);

#endif
