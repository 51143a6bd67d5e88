//! One turn: receive, forward, transmit.

use datapath::{Arrival, DropReason, Lane, WorkerMeters, forward, housekeeping};
use meter::Counter;
use model::{Millis, PortId};
use nic::{Burst, Clock, Cycles, Frame, FrameSource, RxQueue, TxQueue};

use crate::{TURNS, Worker, desk::ROWS, mesh::FrameRing};

impl<R, T, S, C> Worker<R, T, S, C>
where
    R: RxQueue,
    T: TxQueue<Frame = R::Frame>,
    S: FrameSource<Frame = R::Frame>,
    C: Clock,
{
    /// One turn over all queues; returns the frames that it handled.
    pub fn poll_once(&mut self) -> usize {
        self.turn(self.clock.now())
    }

    pub(crate) fn turn(&mut self, now: Cycles) -> usize {
        self.state.tick(now.0);
        let now = self.millis(now);
        self.adopt();
        let mut handled = 0;
        for port in 0..self.ports.len() {
            handled += self.poll_port(PortId(port as u8), now);
        }
        for worker in 0..self.seat.frames_in.len() {
            // To look costs no fence, as to take does: most rings are empty, and the own one always is.
            if self.seat.frames_in.get(worker).is_some_and(|ring| !ring.is_empty()) {
                handled += self.poll_worker(worker, now);
            }
        }
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS) || handled == 0 {
            self.keep_house(now);
        }
        handled
    }

    /// Takes over a new snapshot's static neighbours.
    fn adopt(&mut self) {
        let snapshot = self.reader.current();
        if self.generation != Some(snapshot.generation) {
            self.generation = Some(snapshot.generation);
            self.state.adopt(snapshot);
        }
    }

    fn poll_port(&mut self, id: PortId, now: Millis) -> usize {
        let Some(port) = self.ports.get_mut(id.index()) else { return 0 };
        port.rx.receive(&mut self.burst, self.limit);
        let received = self.burst.len();
        if received > 0 {
            if let Some(meters) = self.meters.port(id) {
                meters.rx_frames.add(received as u64);
                meters.rx_bytes.add(bytes(&self.burst));
            }
            self.forward(Arrival { port: id, is_handed_over: false }, now);
        }
        let from_host = self.poll_host(id, now);
        if received + from_host > 0 {
            self.transmit();
        }
        received + from_host
    }

    /// What the host says leaves as it is: the kernel has resolved its own neighbours.
    fn poll_host(&mut self, id: PortId, now: Millis) -> usize {
        let Some(port) = self.ports.get_mut(id.index()) else { return 0 };
        let Some(host) = &mut port.host else { return 0 };
        host.rx.receive(&mut self.burst, self.limit);
        let received = self.burst.len();
        if received == 0 {
            return 0;
        }
        if let Some(meters) = self.meters.port(id) {
            meters.from_host_frames.add(received as u64);
        }
        let snapshot = self.reader.current();
        for frame in self.burst.drain(..) {
            if self.state.passes_from_host(snapshot, id, &frame, now) {
                self.outputs.leave(&self.meters, id, frame);
            } else {
                self.meters.drop_packets(DropReason::FromHostRateLimit, 1);
                self.outputs.free(frame);
            }
        }
        received
    }

    /// Takes frames that another worker has received for flows of this one, in runs that came by the same port.
    fn poll_worker(&mut self, worker: usize, now: Millis) -> usize {
        let mut handled = 0;
        let mut run: Option<PortId> = None;
        while handled < self.limit {
            let Some((port, frame)) = self.seat.frames_in.get(worker).and_then(|ring| ring.pop()) else {
                break;
            };
            if let Some(last) = run.filter(|last| *last != port) {
                self.forward(Arrival { port: last, is_handed_over: true }, now);
            }
            run = Some(port);
            self.burst.push(frame);
            handled += 1;
        }
        if let Some(port) = run {
            self.meters.handed_in_frames.add(handled as u64);
            self.forward(Arrival { port, is_handed_over: true }, now);
            self.transmit();
        }
        handled
    }

    fn forward(&mut self, arrival: Arrival, now: Millis) {
        let snapshot = self.reader.current();
        forward(
            &mut self.state,
            snapshot,
            arrival,
            now,
            &mut self.burst,
            &mut self.outputs,
            &mut self.source,
        );
    }

    /// Hands all that waits to the queues and rings; what finds no room is counted and freed.
    pub(crate) fn transmit(&mut self) {
        for (position, port) in self.ports.iter_mut().enumerate() {
            let id = PortId(position as u8);
            let Some(meters) = self.meters.port(id) else { continue };
            if let Some(lane) = self.outputs.port(id) {
                let counters = (&meters.tx_frames, Some(&meters.tx_bytes), DropReason::TransmitQueueFull);
                send(&mut port.tx, lane, counters, &self.meters);
            }
            if let (Some(lane), Some(host)) = (self.outputs.host(id), &mut port.host) {
                send(
                    &mut host.tx,
                    lane,
                    (&meters.to_host_frames, None, DropReason::HostQueueFull),
                    &self.meters,
                );
            }
        }
        self.hand_over();
        R::Frame::free(&mut self.outputs.dropped);
    }

    fn hand_over(&mut self) {
        for (position, ring) in self.seat.frames_out.iter().enumerate() {
            let Some(burst) = self.outputs.worker(model::WorkerId(position as u8)) else { continue };
            let (all, mut taken) = (burst.len() as u64, 0);
            for (port, frame) in burst.drain(..) {
                taken += u64::from(ring.push((port, frame)).is_ok());
            }
            self.meters.handed_out_frames.add(taken);
            self.meters.drop_packets(DropReason::HandOverFull, all - taken);
        }
    }

    fn keep_house(&mut self, now: Millis) {
        let snapshot = self.reader.current();
        housekeeping(&mut self.state, snapshot, now, &mut self.outputs, &mut self.source);
        self.transmit();
        self.exchange_facts(now);
        self.answer_requests(now);
    }

    fn exchange_facts(&mut self, now: Millis) {
        for fact in self.state.take_facts() {
            for (position, ring) in self.seat.facts_out.iter().enumerate() {
                if position != self.id.index() {
                    // Without room the other worker asks for itself.
                    let _ = ring.push(fact);
                }
            }
        }
        for ring in &self.seat.facts_in {
            while let Some(fact) = ring.pop() {
                self.state.learn(fact, now);
            }
        }
    }

    fn answer_requests(&mut self, now: Millis) {
        if !self.desk.has_room() {
            return;
        }
        if let Some(request) = self.desk.requests.pop() {
            let answers = &self.desk.answers;
            let snapshot = self.reader.current();
            self.state.answer(request, (snapshot, now), ROWS, |answer| {
                // There is room for a whole answer: this is the only producer.
                let _ = answers.push(answer);
            });
        }
    }

    /// Counts and frees what other workers had handed over when all stopped.
    pub(crate) fn take_handed_over_for_good(&mut self) {
        for ring in &self.seat.frames_in {
            let dropped = drain(ring);
            self.meters.handed_in_frames.add(dropped);
            self.meters.drop_packets(DropReason::Shutdown, dropped);
        }
    }
}

fn drain<F>(ring: &FrameRing<F>) -> u64 {
    std::iter::from_fn(|| ring.pop()).map(|_frame| 1).sum()
}

fn bytes<F: Frame>(burst: &Burst<F>) -> u64 {
    burst.iter().map(|frame| frame.length() as u64).sum()
}

/// Where taken frames and bytes are counted, and why the rest is dropped.
type Counters<'a> = (&'a Counter, Option<&'a Counter>, DropReason);

fn send<T: TxQueue>(queue: &mut T, lane: &mut Lane<T::Frame>, counters: Counters<'_>, meters: &WorkerMeters) {
    let (frames, count_bytes, refused) = counters;
    for burst in lane.bursts() {
        let (all, all_bytes) = (burst.len(), bytes(burst));
        queue.transmit(burst);
        let unsendable = queue.take_unsendable();
        if unsendable > 0 {
            meters.drop_packets(DropReason::FrameUnsendable, unsendable as u64);
        }
        frames.add((all - burst.len()).saturating_sub(unsendable) as u64);
        if let Some(counter) = count_bytes {
            counter.add(all_bytes - bytes(burst));
        }
        meters.drop_packets(refused, burst.len() as u64);
        T::Frame::free(burst);
    }
}
