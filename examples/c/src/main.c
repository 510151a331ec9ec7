#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "roman.h"

/* Prints each argument the other way: 14 as XIV and XIV as 14. */
int main(int argc, char **argv)
{
	int status = EXIT_SUCCESS;

	for (int i = 1; i < argc; i++) {
		char text[ROMAN_SIZE], *end;
		errno = 0;
		long number = strtol(argv[i], &end, 10);
		if (*end == '\0' && errno == 0 && number >= 1 && number <= ROMAN_MAX &&
		    roman_format((int)number, text, sizeof text) == 0) {
			puts(text);
		} else if (roman_parse(argv[i]) > 0) {
			printf("%d\n", roman_parse(argv[i]));
		} else {
			fprintf(stderr, "roman: %s is neither a number from 1 to %d nor a numeral\n", argv[i], ROMAN_MAX);
			status = EXIT_FAILURE;
		}
	}
	return status;
}
