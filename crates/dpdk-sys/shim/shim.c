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

int shim_eal_init(int argc, char **argv)
{
	FILE *out = stdout;
	FILE *err = stderr;
	int result;

	if (log_stream != NULL) {
		stdout = log_stream;
		stderr = log_stream;
	}
	result = rte_eal_init(argc, argv);
	if (log_stream != NULL)
		fflush(log_stream);
	stdout = out;
	stderr = err;
	return result;
}
