#include <stdio.h>
#include <string.h>

#include "roman.h"

static int failures;

static void check(int ok, const char *what)
{
	if (!ok) {
		printf("FAIL: %s\n", what);
		failures++;
	}
}

int main(void)
{
	char text[ROMAN_SIZE];

	check(roman_format(1994, text, sizeof text) == 0 && strcmp(text, "MCMXCIV") == 0, "1994 is MCMXCIV");
	check(roman_format(3888, text, sizeof text) == 0 && strcmp(text, "MMMDCCCLXXXVIII") == 0, "3888 fits");
	check(roman_format(0, text, sizeof text) == -1, "there is no zero");
	check(roman_format(4000, text, sizeof text) == -1, "4000 is too large");
	check(roman_format(1, text, 2) == -1, "a small buffer is refused");

	for (int n = 1; n <= ROMAN_MAX; n++) {
		roman_format(n, text, sizeof text);
		if (roman_parse(text) != n) {
			check(0, text);
			break;
		}
	}

	const char *wrong[] = {"", "IIII", "VX", "IC", "MMMM", "X I", "x", "MCMXCIVZ"};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		check(roman_parse(wrong[i]) == -1, wrong[i]);

	if (failures == 0)
		puts("all tests passed");
	return failures != 0;
}
