#include "roman.h"

#include <string.h>

static const struct {
	int value;
	const char *numeral;
} parts[] = {
	{1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"}, {50, "L"},
	{40, "XL"},  {10, "X"},   {9, "IX"},  {5, "V"},    {4, "IV"},  {1, "I"},
};

#define PARTS (sizeof parts / sizeof parts[0])

int roman_format(int number, char *text, size_t size)
{
	if (number < 1 || number > ROMAN_MAX || size < ROMAN_SIZE)
		return -1;
	text[0] = '\0';
	for (size_t i = 0; i < PARTS; i++)
		for (; number >= parts[i].value; number -= parts[i].value)
			strcat(text, parts[i].numeral);
	return 0;
}

int roman_parse(const char *text)
{
	int number = 0;
	const char *rest = text;

	for (size_t i = 0; i < PARTS; i++) {
		size_t length = strlen(parts[i].numeral);
		for (; strncmp(rest, parts[i].numeral, length) == 0 && number <= ROMAN_MAX; rest += length)
			number += parts[i].value;
	}

	/* Only the one right way to write the number counts: not IIII or VX. */
	char right[ROMAN_SIZE];
	if (roman_format(number, right, sizeof right) != 0 || strcmp(right, text) != 0)
		return -1;
	return number;
}
