const char *word(void) { return "from a stage"; }
