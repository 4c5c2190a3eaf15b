import { EventEmitter } from 'node:events';
import {
  type Accepted,
  CHAIN_EXIT,
  type Envelope,
  type LastRun,
  type Message,
  type Phase,
  type ShimConfig,
  type ShimStatus,
  type Stage,
} from '../../src/agent/shim-protocol.ts';
import type { Machine } from './machine.ts';
import { Process } from './process.ts';
import { Actor } from './time.ts';

/** As in src/agent/shim.ts, whose rules this is a model of. */
const LOOK_EVERY_MS = 100;
const FORLORN_MS = 30_000;

/** The model of a shim. What it says and writes has the shape of the real one's, so that the real agent talks to it. */
export class Shim {
  readonly machine: Machine;
  readonly config: ShimConfig;
  readonly pid: number;
  readonly group: string;
  readonly actor: Actor;
  readonly startTicks: number;
  listening = false;
  #phase: Phase = 'idle';
  #runs = 0;
  #epoch = 0;
  #incarnation = 0;
  deadlineMs = 0;
  process: Process | undefined;
  #stage: Stage = 'started';
  #cause: LastRun['cause'] = 'Exited';
  #last: LastRun | undefined;
  #killAt: number | undefined;
  #cancelTick = () => {};
  #forlornSinceMs: number;
  readonly #agents = new Set<Wire>();

  constructor(machine: Machine, config: ShimConfig) {
    this.machine = machine;
    this.config = config;
    this.group = config.acceptedFile; // as this machine's /run names it
    this.pid = machine.nextPid();
    this.startTicks = this.pid;
    this.actor = new Actor(`shim of ${this.group} on ${machine.name}`, machine.actor);
    this.#forlornSinceMs = machine.clock.nowMs();
  }

  listen(): void {
    this.listening = true;
    this.#accept();
    this.#tick();
  }

  connect(agent: Actor): Wire {
    const wire = new Wire(this, agent);
    this.#agents.add(wire);
    return wire;
  }

  left(wire: Wire): void {
    this.#agents.delete(wire);
    this.#forlornSinceMs = this.machine.clock.nowMs();
  }

  hear(wire: Wire, request: Envelope): void {
    let refused: string | undefined;
    try {
      refused = this.#obey(request);
    } catch (error) {
      refused = String(error);
    }
    wire.say({ type: 'reply', id: request.id, ...(refused === undefined ? {} : { refused }), status: this.#status() });
    if (request.type === 'start') this.#tell();
  }

  /** SIGKILL to the shim. Its process dies with it: PR_SET_PDEATHSIG. */
  kill(): void {
    if (this.actor.dead) return;
    this.actor.die();
    this.machine.shims.delete(this);
    for (const wire of this.#agents) wire.closed();
    if (!this.machine.broken('PDEATHSIG')) this.process?.kill();
  }

  #obey(request: Envelope): string | undefined {
    switch (request.type) {
      case 'start':
        return this.#start(request);
      case 'deadline':
        return this.#setDeadline(request.untilMs);
      case 'stop':
        return this.#stop(request.timeoutMs);
      case 'status':
        return undefined;
      case 'quit':
        this.kill();
        return undefined;
    }
  }

  #start(request: Extract<Envelope, { type: 'start' }>): string | undefined {
    if (this.#phase !== 'idle') return `Cannot start: a process is ${this.#phase} here`;
    this.#epoch = request.epoch;
    this.#incarnation = request.incarnation;
    this.deadlineMs = request.deadlineMs;
    this.#phase = 'starting';
    this.#last = undefined;
    this.#killAt = undefined;
    this.#cause = 'Exited';
    this.#stage = 'started';
    this.#arm();
    this.#accept();
    if (!this.machine.broken('look before exec')) {
      if (this.machine.clock.nowMs() >= this.deadlineMs)
        return this.#notStarted('Cannot start: the deadline has passed');
      if (this.machine.tmpfs.incarnation !== request.incarnation) {
        return this.#notStarted(`Cannot start: incarnation ${request.incarnation} is over`);
      }
    }
    this.#spawn(request.run.lock !== undefined);
    this.#runs += 1;
    this.#accept();
    return undefined;
  }

  #notStarted(reason: string): string {
    this.#phase = 'idle';
    return reason;
  }

  #spawn(locks: boolean): void {
    const { machine } = this;
    const run = this.#runs + 1;
    const process = new Process(this, this.#epoch, (signal, code) => {
      if (this.process !== process) return;
      machine.time.in(0.2, this.actor, () =>
        this.#ended({ run, epoch: process.epoch, stage: this.#stage, code, signal }),
      );
    });
    this.process = process;
    machine.processes.add(process);
    machine.onSpawn(process);
    const { chance } = machine.time;
    const execMs = chance.hits(machine.slowSpawns) ? chance.between(300, 6_000) : chance.longTail(15, 300);
    machine.time.in(execMs, process.actor, () => {
      if (process.killed) return;
      if (locks && machine.disk.keepsLocks && process.data.isLocked()) return process.end(null, CHAIN_EXIT.lockHeld);
      if (locks) process.data.lockHolder = process;
      machine.tell(
        `process ${process.pid} of ${this.group} runs, under epoch ${process.epoch}${locks ? '' : ', without the lock'}`,
      );
      process.exec();
      machine.time.in(0.2, this.actor, () => {
        if (this.process !== process) return;
        this.#stage = 'executed';
        if (this.#phase === 'starting') this.#phase = 'running';
        this.#tell();
      });
    });
  }

  #ended(run: Omit<LastRun, 'cause'>): void {
    this.#phase = 'ending';
    this.#tell();
    this.machine.time.in(this.machine.time.chance.between(1, 15), this.actor, () => {
      this.process = undefined;
      this.#last = { ...run, cause: this.#cause };
      this.#phase = 'idle';
      this.#accept();
      this.#tell();
    });
  }

  #setDeadline(untilMs: number): string | undefined {
    if (this.#phase === 'idle') return undefined;
    if (!this.machine.broken('finality')) {
      if (this.#cause === 'Deadline' || this.machine.clock.nowMs() >= this.deadlineMs) {
        return 'Cannot set the deadline: it has passed';
      }
    }
    if (untilMs > this.deadlineMs) this.process?.excuses.clear();
    this.deadlineMs = untilMs;
    this.#arm();
    this.#accept();
    return undefined;
  }

  #stop(timeoutMs: number): undefined {
    if (this.#phase === 'idle' || this.#phase === 'ending') return;
    if (this.#cause === 'Exited') this.#cause = 'Stopped';
    this.#killAt = Math.min(this.#killAt ?? Number.POSITIVE_INFINITY, this.machine.clock.nowMs() + timeoutMs);
    const { process } = this;
    const { time } = this.machine;
    if (process && time.chance.hits(0.9)) {
      time.in(time.chance.longTail(5, 1_500), process.actor, () => process.end('SIGTERM', null));
    }
    this.#arm();
  }

  #arm(): void {
    this.#cancelTick();
    const idle = this.#phase === 'idle';
    const nextMs = idle
      ? FORLORN_MS
      : Math.min(this.deadlineMs, this.#killAt ?? this.deadlineMs) - this.machine.clock.nowMs();
    const pauseMs = Math.max(1, Math.min(nextMs, idle ? 5_000 : LOOK_EVERY_MS));
    this.#cancelTick = clockAfter(this, pauseMs, () => this.#tick());
  }

  #tick(): void {
    const nowMs = this.machine.clock.nowMs();
    if (this.#phase === 'idle') {
      if (this.#agents.size === 0 && nowMs - this.#forlornSinceMs >= FORLORN_MS) this.kill();
    } else if (nowMs >= this.deadlineMs) {
      if (!this.machine.broken('the kill')) {
        if (this.#cause !== 'Deadline') {
          this.#cause = 'Deadline';
          this.#phase = 'ending';
          this.#tell();
        }
        this.process?.kill();
      }
    } else if (this.#killAt !== undefined && nowMs >= this.#killAt) this.process?.kill();
    this.#arm();
  }

  #accept(): void {
    const accepted: Accepted = { pid: this.pid, startTicks: this.startTicks, status: this.#status() };
    this.machine.tmpfs.accepted.set(this.config.acceptedFile, accepted);
  }

  #status(): ShimStatus {
    const pid = this.#phase === 'idle' ? undefined : this.process?.pid;
    return {
      ...{ phase: this.#phase, run: this.#runs, epoch: this.#epoch, incarnation: this.#incarnation },
      ...{ deadlineMs: this.deadlineMs, pid, last: this.#last },
    };
  }

  #tell(): void {
    for (const wire of this.#agents) wire.say({ type: 'status', status: this.#status() });
  }
}

function clockAfter({ machine, actor }: Shim, ms: number, run: () => void): () => void {
  return machine.time.in(ms + machine.time.chance.longTail(0.1, 40), actor, run);
}

/** The unix socket between an agent and a shim. What was sent arrives in order, and waits for whoever is stopped. */
export class Wire extends EventEmitter {
  readonly #shim: Shim;
  readonly #agent: Actor;
  #open = true;
  readonly #lastMs = new Map<Actor, number>();
  readonly #underWay = new Map<Actor, (() => void)[]>();

  constructor(shim: Shim, agent: Actor) {
    super();
    this.#shim = shim;
    this.#agent = agent;
  }

  setEncoding(): this {
    return this;
  }

  /** By the agent. */
  write(text: string): boolean {
    if (!this.#open || this.#agent.dead) return false;
    const request = JSON.parse(text) as Envelope;
    this.#inOrder(this.#shim.actor, () => {
      if (this.#open) this.#shim.hear(this, request);
    });
    if (request.type === 'start') {
      const { machine } = this.#shim;
      const { atNextStart } = machine;
      machine.atNextStart = () => {};
      atNextStart();
    }
    return true;
  }

  destroy(): this {
    if (!this.#open) return this;
    this.#open = false;
    this.#shim.left(this);
    this.#shim.machine.time.in(0.1, this.#agent, () => this.emit('close'));
    return this;
  }

  /** By the shim. */
  say(message: Message): void {
    const text = `${JSON.stringify(message)}\n`;
    this.#inOrder(this.#agent, () => {
      if (this.#open) this.emit('data', text);
    });
  }

  /** Mostly at once; on a busy machine not. */
  #inOrder(to: Actor, run: () => void): void {
    const { time } = this.#shim.machine;
    const lastMs = this.#lastMs.get(to) ?? 0;
    const atMs = Math.max(lastMs, time.nowMs + time.chance.longTail(0.1, 30));
    this.#lastMs.set(to, atMs);
    const underWay = this.#underWay.get(to) ?? [];
    this.#underWay.set(to, underWay);
    underWay.push(run);
    time.in(atMs - time.nowMs, to, () => underWay.shift()?.());
  }

  /** The shim is gone. */
  closed(): void {
    if (!this.#open) return;
    this.#shim.machine.time.in(0.1, this.#agent, () => {
      if (!this.#open) return;
      this.#open = false;
      this.emit('close');
    });
  }
}
