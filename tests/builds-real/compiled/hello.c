#include <stdio.h>
const char *word(void);
int main(void) { printf("hello %s\n", word()); return 0; }
