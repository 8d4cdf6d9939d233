/* nearest: the word that somebody who mistyped one meant. Pure. */
#ifndef SLUICE_BASE_NEAREST_H
#define SLUICE_BASE_NEAREST_H

/* The word of the list nearest to `word` (edit distance, case and '_' forgiven); NULL: none is
 * near. words: NULL-terminated; the answer is one of its pointers. */
const char *nearest_word(const char *word, const char *const *words);

#endif
