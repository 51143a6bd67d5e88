/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions for what bindgen cannot reach. Nothing here runs once per frame on the forwarding path.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <stdio.h>
#include <sys/types.h>

int shim_errno(void)
{
	return rte_errno;
}

struct rte_mbuf *shim_mbuf_allocate(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

static shim_log_line log_line;
static FILE *log_stream;

static ssize_t write_log(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_line((uint32_t)rte_log_cur_msg_loglevel(), text, length);
	return (ssize_t)length;
}

int shim_log_to(shim_log_line line)
{
	cookie_io_functions_t functions = { .write = write_log };

	log_line = line;
	if (log_stream == NULL)
		log_stream = fopencookie(NULL, "w", functions);
	if (log_stream == NULL)
		return -1;
	/* Line by line: DPDK flushes after each message, the C library's own messages are whole lines. */
	setvbuf(log_stream, NULL, _IOLBF, BUFSIZ);
	return rte_openlog_stream(log_stream);
}

static ssize_t discard(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	(void)text;
	return (ssize_t)length;
}

int shim_eal_init(int argc, char **argv)
{
	cookie_io_functions_t functions = { .write = discard };
	FILE *nowhere = fopencookie(NULL, "w", functions);
	FILE *out = stdout;
	FILE *err = stderr;
	int result;

	/* glibc lets a program assign these: the C library complains about options to stderr, EAL prints its usage to
	 * stdout. Rust's own output does not go through them. */
	if (log_stream != NULL)
		stderr = log_stream;
	if (nowhere != NULL)
		stdout = nowhere;
	result = rte_eal_init(argc, argv);
	stdout = out;
	stderr = err;
	if (log_stream != NULL)
		fflush(log_stream);
	if (nowhere != NULL)
		fclose(nowhere);
	return result;
}
