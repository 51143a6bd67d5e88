/* What a good C programmer would write for an established IPv4 TCP flow in `nat`: the yardstick for Tidegate.
 *
 *     c_loop EAL... -- SERVICE PORT BACKEND_PORT FLOWS ADDRESS=MAC...
 *
 * One core, one port, bursts of 32, in the passes that Tidegate has: parse and hash, prefetching buckets; compare tags,
 * prefetching records; confirm, rewrite, send. The same duties: Ethernet addresses, version, lengths, fragments, header
 * checksum, data offset and TTL are checked; padding is cut; the hash is keyed (folded multiplications, as in Tidegate,
 * since CRC32C is linear); both directions of a flow lead to one record of 64 bytes, which has the two keys, precomputed
 * checksum differences and the next hops; each packet writes last_seen; the configuration's generation is compared; packets
 * and bytes are counted by backend and direction, and by port; a scan ages flows a bounded number at a time; the TSC is read once a burst.
 * Not here: IPv6, VLAN, UDP, ICMP, ARP, other modes, limits, more than one virtual server, readers of the counters.
 */
#include <arpa/inet.h>
#include <immintrin.h>
#include <netinet/in.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#include <rte_tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BURST = 32, MBUFS = 32768, DATA_ROOM = 2176, CACHE = 256, DESCRIPTORS = 1024, WAYS = 8, BACKENDS = 64, MTU = 1500 };
enum { CLIENT = 0, BACKEND = 1 };
enum { STEADY = 1, CLOSING = 2 };
enum reason { NOT_OURS, NO_IPV4_TCP, TTL, NO_FLOW, TABLE_FULL, QUEUE_FULL, OVER_MTU, REASONS };
enum { SCANNED = 64, TURNS = 1024, IDLE_SECONDS = 300 };

struct frame {
    struct rte_ether_hdr link;
    struct rte_ipv4_hdr ip;
    struct rte_tcp_hdr tcp;
} __rte_packed __rte_aligned(2);

/* A direction's 5-tuple, as it lies in the packet; the protocol is TCP throughout. */
struct key {
    uint64_t addresses; /* source, destination */
    uint32_t ports;     /* source, destination */
} __rte_packed;

struct flow {
    struct key key[2];          /* what the client's packets carry, and the backend's */
    uint16_t network[2];        /* checksum differences, by the side that sends */
    uint16_t transport[2];
    struct rte_ether_addr hop[2]; /* where that side's packets go to */
    uint32_t last_seen;
    uint32_t generation;
    uint32_t backend;
    uint8_t state;
} __rte_cache_aligned;
_Static_assert(sizeof(struct flow) == 64, "a flow is a cache line");

/* Tags of eight directions of flows; an entry is the flow's index, doubled, plus the side. */
struct bucket {
    uint16_t tag[WAYS];
    uint32_t entry[WAYS];
} __rte_cache_aligned;

struct traffic {
    uint64_t packets, bytes;
};

static volatile bool stop;
static uint16_t port_id;
static struct rte_ether_addr own;
static uint32_t service, generation = 1;
static uint16_t service_port, backend_port;
static struct { uint32_t address; struct rte_ether_addr mac; } backends[BACKENDS];
static uint32_t backend_count, capacity, used, cursor, bucket_count;
static struct bucket *buckets;
static struct flow *flows;
static uint32_t *free_list;
static const uint64_t secret[4] = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93};
static struct traffic by_backend[BACKENDS][2], received, sent;
static uint64_t dropped[REASONS], busy_cycles;

static inline uint64_t folded(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_of(const struct key *key) {
    uint64_t mixed = folded(key->addresses ^ secret[0], ((uint64_t)key->ports << 8 | IPPROTO_TCP) ^ secret[1]);
    return folded(mixed ^ secret[2], secret[3]);
}

static inline struct bucket *bucket_of(uint64_t hash) { return &buckets[(hash & 0xffffffff) * bucket_count >> 32]; }
static inline struct bucket *second_of(uint64_t hash) { return &buckets[(hash >> 32) * bucket_count >> 32]; } /* when that is full */
static inline uint16_t tag_of(uint64_t hash) { return (uint16_t)(hash >> 12) | 1; } /* 0 is empty */

static inline uint32_t matches(const struct bucket *bucket, uint16_t tag) {
    __m128i equal = _mm_cmpeq_epi16(_mm_load_si128((const __m128i *)bucket->tag), _mm_set1_epi16((short)tag));
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()));
}

static inline bool same(const struct key *a, const struct key *b) { return a->addresses == b->addresses && a->ports == b->ports; }

static inline uint16_t fold(uint64_t sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* RFC 1624, equation 3: HC' = ~(~HC + difference). */
static inline uint16_t repaired(uint16_t checksum, uint16_t difference) {
    uint32_t sum = (uint32_t)(uint16_t)~checksum + difference;
    return (uint16_t)~((sum & 0xffff) + (sum >> 16));
}

static inline uint16_t header_sum(const struct rte_ipv4_hdr *ip) {
    uint64_t a, b;
    uint32_t c;
    memcpy(&a, ip, 8), memcpy(&b, (const char *)ip + 8, 8), memcpy(&c, (const char *)ip + 16, 4);
    return fold((a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32) + c);
}

/* Whether a frame is a plain IPv4 TCP packet for this port; cuts the padding. */
static inline bool parse(struct rte_mbuf *mbuf, struct key *key, enum reason *why) {
    struct frame *frame = rte_pktmbuf_mtod(mbuf, struct frame *);
    uint16_t total;
    *why = NOT_OURS;
    if (mbuf->data_len < sizeof *frame || memcmp(&frame->link.dst_addr, &own, sizeof own) != 0 || (frame->link.src_addr.addr_bytes[0] & 1))
        return false;
    *why = NO_IPV4_TCP;
    total = rte_be_to_cpu_16(frame->ip.total_length);
    if (frame->link.ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4) || frame->ip.version_ihl != 0x45 || frame->ip.next_proto_id != IPPROTO_TCP ||
        (frame->ip.fragment_offset & RTE_BE16(0x3fff)) != 0 || total < 40 || total + sizeof frame->link > mbuf->pkt_len ||
        header_sum(&frame->ip) != 0xffff || frame->tcp.data_off < 0x50 || 20u + (frame->tcp.data_off >> 4) * 4 > total)
        return false;
    memcpy(&key->addresses, &frame->ip.src_addr, 8);
    memcpy(&key->ports, &frame->tcp.src_port, 4);
    if (unlikely(mbuf->pkt_len > total + sizeof frame->link) && mbuf->nb_segs == 1)
        mbuf->pkt_len = mbuf->data_len = (uint16_t)(total + sizeof frame->link);
    return true;
}

static struct flow *find_in(struct bucket *bucket, const struct key *key, uint64_t hash, uint32_t *side) {
    for (uint32_t mask = matches(bucket, tag_of(hash)); mask; mask &= mask - 1) {
        uint32_t entry = bucket->entry[__builtin_ctz(mask)];
        *side = entry & 1;
        if (same(&flows[entry >> 1].key[*side], key))
            return &flows[entry >> 1];
    }
    return NULL;
}

static struct flow *find(const struct key *key, uint64_t hash, uint32_t *side) {
    struct flow *flow = find_in(bucket_of(hash), key, hash, side);
    return flow ? flow : find_in(second_of(hash), key, hash, side);
}

static bool enter(const struct key *key, uint32_t entry) {
    uint64_t hash = hash_of(key);
    struct bucket *bucket = bucket_of(hash);
    uint32_t empty = matches(bucket, 0);
    if (!empty)
        bucket = second_of(hash), empty = matches(bucket, 0);
    if (!empty)
        return false;
    bucket->entry[__builtin_ctz(empty)] = entry;
    bucket->tag[__builtin_ctz(empty)] = tag_of(hash);
    return true;
}

static void leave(const struct key *key, uint32_t entry) {
    uint64_t hash = hash_of(key);
    struct bucket *choices[2] = {bucket_of(hash), second_of(hash)};
    for (uint32_t choice = 0; choice < 2; choice++)
        for (uint32_t mask = matches(choices[choice], tag_of(hash)); mask; mask &= mask - 1)
            if (choices[choice]->entry[__builtin_ctz(mask)] == entry)
                choices[choice]->tag[__builtin_ctz(mask)] = 0;
}

/* What replacing addresses and ports does to a sum: m' - m in one's complement. */
static uint16_t difference(const struct key *from, const struct key *to, bool ports) {
    uint64_t sum = (uint64_t)(uint32_t)~from->addresses + (uint32_t)~(from->addresses >> 32) + (uint32_t)to->addresses + (uint32_t)(to->addresses >> 32);
    return fold(ports ? sum + (uint32_t)~from->ports + to->ports : sum);
}

static __rte_noinline struct flow *open_flow(const struct key *key, uint64_t hash, const struct frame *frame, uint32_t now, enum reason *why) {
    uint32_t client = (uint32_t)key->addresses, index, side;
    uint16_t client_port = (uint16_t)key->ports;
    const uint16_t ttl = 0xffff - 1; /* one less in the first byte of its word, as it lies in memory */
    struct flow *flow = find(key, hash, &side); /* opened earlier in this burst? */
    if (flow)
        return flow;
    *why = NO_FLOW;
    if ((uint32_t)(key->addresses >> 32) != service || (uint16_t)(key->ports >> 16) != service_port || (frame->tcp.tcp_flags & RTE_TCP_RST_FLAG))
        return NULL;
    *why = TABLE_FULL;
    if (used == capacity)
        return NULL;
    index = free_list[used];
    flow = &flows[index];
    memset(flow, 0, sizeof *flow);
    flow->backend = (uint32_t)(hash >> 32) % backend_count;
    flow->key[CLIENT] = *key;
    flow->key[BACKEND].addresses = (uint64_t)client << 32 | backends[flow->backend].address;
    flow->key[BACKEND].ports = (uint32_t)client_port << 16 | backend_port;
    for (side = CLIENT; side <= BACKEND; side++) {
        const struct key *other = &flow->key[!side];
        struct key after = {other->addresses << 32 | other->addresses >> 32, other->ports << 16 | other->ports >> 16};
        flow->network[side] = fold((uint64_t)difference(&flow->key[side], &after, false) + ttl);
        flow->transport[side] = difference(&flow->key[side], &after, true);
    }
    flow->hop[CLIENT] = backends[flow->backend].mac;
    flow->hop[BACKEND] = frame->link.src_addr;
    flow->generation = generation;
    flow->state = STEADY;
    flow->last_seen = now;
    if (!enter(&flow->key[CLIENT], index << 1 | CLIENT))
        return NULL;
    if (!enter(&flow->key[BACKEND], index << 1 | BACKEND)) {
        leave(&flow->key[CLIENT], index << 1 | CLIENT);
        return NULL;
    }
    used++;
    return flow;
}

static __rte_noinline void follow(struct flow *flow, const struct frame *frame) {
    if (frame->tcp.tcp_flags & (RTE_TCP_FIN_FLAG | RTE_TCP_RST_FLAG))
        flow->state = CLOSING;
    flow->generation = generation;
}

static inline bool rewrite(struct rte_mbuf *mbuf, struct flow *flow, uint32_t side, uint32_t now, enum reason *why) {
    struct frame *frame = rte_pktmbuf_mtod(mbuf, struct frame *);
    const struct key *other = &flow->key[!side];
    uint16_t length = rte_be_to_cpu_16(frame->ip.total_length);
    struct traffic *traffic = &by_backend[flow->backend][side];
    if (unlikely(flow->generation != generation || flow->state != STEADY ||
                 (frame->tcp.tcp_flags & (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG | RTE_TCP_RST_FLAG))))
        follow(flow, frame);
    flow->last_seen = now;
    if (unlikely(length > MTU))
        return *why = OVER_MTU, false;
    if (unlikely(frame->ip.time_to_live <= 1))
        return *why = TTL, false;
    frame->link.dst_addr = flow->hop[side];
    frame->link.src_addr = own;
    frame->ip.src_addr = (uint32_t)(other->addresses >> 32);
    frame->ip.dst_addr = (uint32_t)other->addresses;
    frame->ip.time_to_live--;
    frame->ip.hdr_checksum = repaired(frame->ip.hdr_checksum, flow->network[side]);
    frame->tcp.src_port = (uint16_t)(other->ports >> 16);
    frame->tcp.dst_port = (uint16_t)other->ports;
    frame->tcp.cksum = repaired(frame->tcp.cksum, flow->transport[side]);
    traffic->packets++, traffic->bytes += length;
    return true;
}

static void age(uint32_t now) {
    for (uint32_t scanned = 0; scanned < SCANNED && scanned < capacity; scanned++) {
        struct flow *flow = &flows[cursor];
        if (flow->state && now - flow->last_seen > (flow->state == STEADY ? IDLE_SECONDS : 5) * 1000) {
            leave(&flow->key[CLIENT], cursor << 1 | CLIENT), leave(&flow->key[BACKEND], cursor << 1 | BACKEND);
            flow->state = 0;
            free_list[--used] = cursor;
        }
        cursor = cursor + 1 == capacity ? 0 : cursor + 1;
    }
}

static inline uint64_t bytes_of(struct rte_mbuf **mbufs, uint32_t count) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += mbufs[i]->pkt_len;
    return bytes;
}

static void forward(struct rte_mbuf **burst, uint32_t count, uint32_t now) {
    struct rte_mbuf *out[BURST], *bad[BURST];
    struct key keys[BURST];
    uint64_t hashes[BURST], out_bytes;
    uint32_t entries[BURST], parsed = 0, ready = 0, refused = 0, taken;
    enum reason why;
    for (uint32_t i = 0; i < count; i++) { /* the ones that go on move to the front */
        if (likely(parse(burst[i], &keys[parsed], &why))) {
            burst[parsed++] = burst[i];
        } else {
            dropped[why]++, bad[refused++] = burst[i];
        }
    }
    for (uint32_t i = 0; i < parsed; i++) {
        hashes[i] = hash_of(&keys[i]);
        rte_prefetch0(bucket_of(hashes[i]));
    }
    for (uint32_t i = 0; i < parsed; i++) {
        struct bucket *bucket = bucket_of(hashes[i]);
        uint32_t mask = matches(bucket, tag_of(hashes[i]));
        entries[i] = mask ? bucket->entry[__builtin_ctz(mask)] : UINT32_MAX;
        if (likely(mask))
            rte_prefetch0(&flows[entries[i] >> 1]);
    }
    for (uint32_t i = 0; i < parsed; i++) {
        uint32_t side = entries[i] & 1;
        struct flow *flow = entries[i] != UINT32_MAX ? &flows[entries[i] >> 1] : NULL;
        if (unlikely(!flow || !same(&flow->key[side], &keys[i]))) {
            flow = find(&keys[i], hashes[i], &side); /* another one with this tag */
            if (!flow)
                side = CLIENT, flow = open_flow(&keys[i], hashes[i], rte_pktmbuf_mtod(burst[i], struct frame *), now, &why);
        }
        if (likely(flow && rewrite(burst[i], flow, side, now, &why))) {
            out[ready++] = burst[i];
        } else {
            dropped[why]++, bad[refused++] = burst[i];
        }
    }
    out_bytes = bytes_of(out, ready);
    taken = rte_eth_tx_burst(port_id, 0, out, (uint16_t)ready);
    sent.packets += taken;
    if (unlikely(taken < ready)) {
        out_bytes -= bytes_of(out + taken, ready - taken);
        dropped[QUEUE_FULL] += ready - taken;
        rte_pktmbuf_free_bulk(out + taken, ready - taken);
    }
    sent.bytes += out_bytes;
    if (unlikely(refused))
        rte_pktmbuf_free_bulk(bad, refused);
}

static int poll(void *unused) {
    struct rte_mbuf *burst[BURST];
    uint64_t hertz = rte_get_tsc_hz(), started = rte_rdtsc(), from = started, next = started;
    uint32_t turns = 0, now = 0;
    (void)unused;
    while (!stop) {
        uint16_t count = rte_eth_rx_burst(port_id, 0, burst, BURST);
        if (from >= next) { /* divides once a millisecond only */
            now = (uint32_t)((from - started) / (hertz / 1000));
            next = started + (now + 1ull) * (hertz / 1000);
        }
        if (likely(count)) {
            received.packets += count;
            received.bytes += bytes_of(burst, count);
            forward(burst, count, now);
        }
        if (++turns % TURNS == 0)
            age(now);
        uint64_t to = rte_rdtsc();
        busy_cycles += count ? to - from : 0;
        from = to;
    }
    return 0;
}

static void handle(int signal) {
    (void)signal;
    stop = true;
}

static void configure(int count, char **arguments) {
    if (count < 6 || inet_pton(AF_INET, arguments[1], &service) != 1)
        rte_exit(2, "usage: c_loop EAL... -- SERVICE PORT BACKEND_PORT FLOWS ADDRESS=MAC...\n");
    service_port = htons((uint16_t)atoi(arguments[2]));
    backend_port = htons((uint16_t)atoi(arguments[3]));
    capacity = (uint32_t)atoi(arguments[4]);
    for (int i = 5; i < count && backend_count < BACKENDS; i++, backend_count++) {
        char *mac = strchr(arguments[i], '=');
        if (mac)
            *mac++ = 0;
        if (!mac || rte_ether_unformat_addr(mac, &backends[backend_count].mac) || inet_pton(AF_INET, arguments[i], &backends[backend_count].address) != 1)
            rte_exit(2, "%s is no ADDRESS=MAC\n", arguments[i]);
    }
    bucket_count = RTE_MAX(16u, capacity / 4 * 3); /* a third full, two directions a flow */
    buckets = rte_zmalloc(NULL, (uint64_t)bucket_count * sizeof *buckets, RTE_CACHE_LINE_SIZE);
    flows = rte_zmalloc(NULL, (uint64_t)capacity * sizeof *flows, RTE_CACHE_LINE_SIZE);
    free_list = rte_zmalloc(NULL, (uint64_t)capacity * sizeof *free_list, RTE_CACHE_LINE_SIZE);
    if (!buckets || !flows || !free_list)
        rte_exit(1, "no memory for %u flows\n", capacity);
    for (uint32_t i = 0; i < capacity; i++)
        free_list[i] = i;
}

int main(int count, char **arguments) {
    int taken = rte_eal_init(count, arguments);
    struct rte_eth_conf conf = {0};
    struct rte_mempool *pool;
    unsigned lcore;
    if (taken < 0)
        rte_exit(1, "EAL does not start\n");
    configure(count - taken, arguments + taken);
    pool = rte_pktmbuf_pool_create("frames", MBUFS, CACHE, 0, DATA_ROOM, (int)rte_socket_id());
    if (!pool || rte_eth_dev_configure(port_id, 1, 1, &conf) || rte_eth_rx_queue_setup(port_id, 0, DESCRIPTORS, rte_socket_id(), NULL, pool) ||
        rte_eth_tx_queue_setup(port_id, 0, DESCRIPTORS, rte_socket_id(), NULL) || rte_eth_dev_start(port_id) || rte_eth_macaddr_get(port_id, &own))
        rte_exit(1, "port 0 does not start\n");
    signal(SIGTERM, handle), signal(SIGINT, handle);
    lcore = rte_get_next_lcore(-1, 1, 0);
    if (lcore >= RTE_MAX_LCORE || rte_eal_remote_launch(poll, NULL, lcore))
        rte_exit(1, "no second lcore\n");
    rte_eal_mp_wait_lcore();
    printf("received %lu, sent %lu, flows %u\n", received.packets, sent.packets, used);
    rte_eth_dev_stop(port_id);
    rte_eth_dev_close(port_id);
    return rte_eal_cleanup();
}
