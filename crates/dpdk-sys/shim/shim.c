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

void shim_mbuf_cut(struct rte_mbuf *mbuf, int is_v4, uint16_t link, uint16_t network, uint16_t transport, uint16_t share)
{
	const uint64_t family = is_v4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6;

	mbuf->tx_offload = 0;
	mbuf->l2_len = link;
	mbuf->l3_len = network;
	mbuf->l4_len = transport;
	mbuf->tso_segsz = share;
	mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | family;
}

static shim_log_line log_line;
static FILE *log_stream;
/* What libraries print to stderr, and what they print to stdout. */
static FILE *output_stream;
static FILE *nowhere;
static FILE *saved_stdout;
static FILE *saved_stderr;

static ssize_t write_log(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_line((uint32_t)rte_log_cur_msg_loglevel(), text, length);
	return (ssize_t)length;
}

static ssize_t write_output(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_line(RTE_LOG_INFO, text, length);
	return (ssize_t)length;
}

static ssize_t discard(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	(void)text;
	return (ssize_t)length;
}

/* A stream that hands over line by line, made once and never closed. */
static int make_stream(FILE **stream, cookie_write_function_t *write)
{
	cookie_io_functions_t functions = { .write = write };

	if (*stream != NULL)
		return 0;
	*stream = fopencookie(NULL, "w", functions);
	if (*stream == NULL)
		return -1;
	return setvbuf(*stream, NULL, _IOLBF, BUFSIZ);
}

int shim_log_to(shim_log_line line)
{
	log_line = line;
	if (make_stream(&log_stream, write_log) != 0 || make_stream(&output_stream, write_output) != 0 ||
	    make_stream(&nowhere, discard) != 0)
		return -1;
	return rte_openlog_stream(log_stream);
}

void shim_output_capture(void)
{
	saved_stdout = stdout;
	saved_stderr = stderr;
	/* glibc lets a program assign these. Rust's own output does not go through them. */
	if (output_stream != NULL)
		stderr = output_stream;
	if (nowhere != NULL)
		stdout = nowhere;
}

void shim_output_release(void)
{
	stdout = saved_stdout;
	stderr = saved_stderr;
	if (output_stream != NULL)
		fflush(output_stream);
}
