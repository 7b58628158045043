/* Records: where a CSV record or a JSON document ends in a stream.
 *
 * A scan is given the bytes from the record's first on, again and again as more of them come, and goes on where it
 * stopped: each byte is looked at once. It does not copy and does not allocate. A zeroed scan is a new one, and the
 * caller zeroes it after each record. At the end of the stream a size of 0 means that there is no record any more.
 */
#ifndef CORUN_RECORDS_H
#define CORUN_RECORDS_H

#include <stdbool.h>
#include <stddef.h>

/* CSV as in RFC 4180: fields may be in quotes, and then hold separators, newlines and doubled quotes. Lines end with
 * LF or CRLF; a CR elsewhere is a byte as any other. The separator is any byte but a quote, CR and LF. */
struct csv_scan {
  size_t at;           /* bytes seen of this record */
  unsigned char state; /* private */
  const char *bad;     /* what is wrong with the record, in words, or NULL */
  size_t bad_at;       /* and where; for an open quote where that is */
  bool cut;            /* bad because the stream has ended in it */
};

/* The size of the record at the front of `data` with its line end, or 0 where more bytes are needed. An empty line is
 * a record. At the end of the stream what is there is the record; an open quote is bad then ("the stream ends inside
 * of a quoted field"). A bad record (a quote inside of a field without quotes, something between a closing quote and
 * the separator) reaches to the end of its line, so that the next can be read. */
size_t csv_scan(struct csv_scan *s, const char *data, size_t size, char separator, bool at_end);

/* Its size without its line end. */
size_t csv_content(const char *record, size_t size);

struct csv_field {
  const char *data; /* without the quotes around it */
  size_t size;
  bool doubled;     /* "" in it stands for " */
};

/* The fields of a record that csv_scan found no fault with, one after the other; *at is 0 before the first. False
 * after the last. The record has its whole line end or nothing of it. Without bytes it has one empty field. */
bool csv_next(const char *record, size_t size, char separator, size_t *at, struct csv_field *field);

/* JSON documents one after another, with or without white space between (RFC 8259; concatenated as by jq or kubectl).
 * Says only where one ends; whether it is good is the decoder's to say. */
struct json_scan {
  size_t at;           /* bytes seen of this document */
  size_t depth;        /* of open objects and arrays */
  unsigned char state; /* private */
  bool cut;            /* the stream has ended in it */
};

/* The size of the document at the front of `data` with the white space before it, or 0 where more bytes are needed.
 * An object or array ends with its last bracket (brackets are counted, not matched: [} is the decoder's to refuse), a
 * string with its quote, anything else before white space, a bracket, a quote or a comma; a stray closing bracket or
 * comma is a document of one byte, so that there is always a way on. At the end of the stream all that is left is the
 * document, though it be only white space (json_blank). */
size_t json_scan(struct json_scan *s, const char *data, size_t size, bool at_end);

/* How many bytes at the front are white space of JSON. */
size_t json_blank(const char *data, size_t size);

#endif
