# shellcheck shell=bash disable=SC2154
# What the demo shows, each step a function that says what it saw or fails: sourced by scripts/demo.

url() { # FAMILY
    if [[ $1 == 4 ]]; then echo "http://$vip4"; else echo "http://[$vip6]"; fi
}

# COUNT curl processes, as many connections. Each prints one line: body, status, X-Backend, seconds. The first that
# has no answer is the last: 255 ends xargs, and 300 times its patience would be an hour.
requests() { # FAMILY COUNT
    # The shell in between makes one line and one write of each: curl makes two, which others could part.
    # shellcheck disable=SC2016
    seq "$2" | in_namespace client xargs -P 4 -n 1 sh -c 'line=$(curl -sS --max-time 20 \
        -w " %{http_code} %header{x-backend} %{time_total}" "$0/?$1" 2>&1); code=$?
        echo $line; exit $((code ? 255 : 0))' "$(url "$1")" 2>>"$work/requests.log" || true
}

# The lines that are not an answer of the backend which they name.
wrong_lines() { grep -vE '^hello from (backend[1-3]) 200 \1 [0-9.]+$' "$1" || true; }

# Requests that must all be answered, by the backend that the answer names.
requests_answered() { # WHEN FAMILY COUNT FILE
    local wrong made
    requests "$2" "$3" >"$4"
    wrong=$(wrong_lines "$4")
    made=$(wc -l <"$4")
    [[ -z $wrong ]] || fail "$(wc -l <<<"$wrong") of $made requests $1 went wrong: $(head -n 3 <<<"$wrong")"
    ((made == $3)) || fail "$made answers to $3 requests $1: $(tail -n 3 "$work/requests.log")"
}

make_requests() { # FAMILY
    local answers=$work/answers$1
    requests_answered "over IPv$1" "$1" 300 "$answers"
    [[ $(cut -d' ' -f5 "$answers" | sort -u | wc -l) -eq 3 ]] || fail "not all three backends answered over IPv$1"
    cut -d' ' -f6 "$answers" >>"$work/seconds"
    say "  300 requests over IPv$1: all answered, by all three backends"
}

checksum() { sha256sum | cut -d' ' -f1; }

# What a client calls a transfer that broke off: nothing moves for 20 s, however slow the machine is.
stalled=(--speed-limit 1 --speed-time 20)

download() {
    local sum
    sum=$(in_namespace client curl -sSf "${stalled[@]}" "$(url 4)/object" | checksum) ||
        fail "the download broke off"
    [[ $sum == "$object_sum" ]] || fail "the downloaded object has sha256 $sum, the original $object_sum"
    say "  256 MiB down over IPv4: sha256 equal at both ends"
}

upload() {
    local backend sum
    backend=$(in_namespace client curl -sSf "${stalled[@]}" -o /dev/null -w '%header{x-backend}' \
        -T "$work/object" "$(url 6)/upload/object") || fail "the upload broke off"
    sum=$(checksum <"$work/$backend/files/upload/object")
    [[ $sum == "$object_sum" ]] || fail "the object that $backend got has sha256 $sum, the original $object_sum"
    rm "$work/$backend/files/upload/object"
    say "  256 MiB up over IPv6: sha256 equal at both ends"
}

# UDP may lose a datagram now and then; who asks sends it again. Here one in ten is more than that.
ask_echo() { # FAMILY ADDRESS
    local answered again
    read -r answered again <<<"$(in_namespace client /usr/bin/python3 "$here/ask.py" "$2" 7 50)"
    ((answered == 50)) || fail "UDP over IPv$1: $answered datagrams came back, the next did not, in 5 tries"
    ((again <= 5)) || fail "$again of 50 UDP datagrams over IPv$1 came back only when they were sent again"
    say "  50 UDP datagrams over IPv$1: all echoed$( ((again == 0)) || echo ", $again when sent again")"
}

transfers=12
transfer_size=$((6 << 20))

family_of_transfer() { if (($1 % 2)); then echo 4; else echo 6; fi; }

# Downloads that last 6 s, half of them over IPv6. Each leaves its headers (with the backend's name) and its sha256.
start_transfers() {
    local number
    for ((number = 1; number <= transfers; number++)); do
        # Not by in_namespace: its shell would tell of a curl that is killed when the demo is interrupted.
        ip netns exec "$prefix-client" curl -s "${stalled[@]}" --range "0-$((transfer_size - 1))" \
            --dump-header "$work/transfer$number.headers" "$(url "$(family_of_transfer "$number")")/slow" |
            checksum >"$work/transfer$number.sum" &
        transfer_pids+=($!)
    done
}

backend_of_transfer() { # NUMBER
    sed -n 's/^X-Backend: *\(backend[0-9]\).*/\1/p' "$work/transfer$1.headers"
}

transfers_under_way() {
    local number
    for ((number = 1; number <= transfers; number++)); do
        [[ -n $(backend_of_transfer "$number") && ! -s $work/transfer$number.sum ]] || return 1
    done
}

check_transfers() { # VICTIM
    local number on_dead=0 on_others=0 expected
    expected=$(head -c "$transfer_size" "$work/object" | checksum)
    wait "${transfer_pids[@]}" || true # those on the dead backend failed, as they must
    for ((number = 1; number <= transfers; number++)); do
        if [[ $(backend_of_transfer "$number") == "$1" ]]; then
            on_dead=$((on_dead + 1))
        elif [[ $(cat "$work/transfer$number.sum") == "$expected" ]]; then
            on_others=$((on_others + 1))
        else
            fail "a transfer from $(backend_of_transfer "$number") broke off when $1 died"
        fi
    done
    ((on_others > 0)) || fail "no transfer ran on the other backends"
    say "  $on_others slow transfers on the other two did not notice; $on_dead died with $1"
}

# Where new connections go after a backend's death, within 2 s, and after its return.
kill_one_backend() {
    local victim processes begun failed last answers=$work/answers-after
    transfer_pids=()
    start_transfers
    wait_until 30 transfers_under_way || fail "$transfers slow transfers were not under way together"
    victim=$(backend_of_transfer 1)
    mapfile -t processes < <(processes_of_nginx "${victim#backend}")
    read -r begun failed last <<<"$(in_namespace client \
        /usr/bin/python3 "$here/kill.py" "$vip4" 80 3 "${processes[@]}")"
    ((last < 2000)) || fail "connections that began $last ms after $victim was killed still failed ($failed of $begun)"
    say "  $victim killed: $failed of the $begun connections begun in the next 3 s failed, none later than $last ms"
    requests_answered "after $victim died" 4 30 "$answers"
    ! grep -q "$victim" "$answers" || fail "the dead $victim answered"
    check_transfers "$victim"
    start_nginx "${victim#backend}"
    wait_until 30 backends_up 3 || fail "$victim came back, but the monitors do not see it"
    requests_answered "after $victim came back" 4 60 "$answers"
    grep -q "$victim" "$answers" || fail "$victim came back, but no new connection goes there"
    say "  $victim started again: new connections go there, too"
}
