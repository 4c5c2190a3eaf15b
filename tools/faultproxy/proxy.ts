import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { Buckets } from './buckets.ts';
import { type Answer, answerOf, type Bucket, type FaultRule, type TracedCall } from './faults.ts';

export interface FaultProxyOptions {
  /** Such as moto's `http://127.0.0.1:41234`. */
  readonly target: string;
  /** Default: any free one. */
  readonly port?: number;
  /** Default: 127.0.0.1. */
  readonly host?: string;
}

export interface FaultProxy {
  readonly endpoint: string;
  /** A fault for the next calls that fit; rules are looked through in the order they were given. */
  rule(rule: FaultRule): void;
  /** Throttles an action, or `*`. */
  bucket(action: string, bucket: Bucket): void;
  /** Adds `ms` before each call of an action, or of `*`, is forwarded. */
  latency(action: string, ms: number): void;
  /** The last calls, oldest first. */
  trace(): readonly TracedCall[];
  /** No fault, no bucket, no latency, an empty trace. */
  reset(): void;
  stop(): Promise<void>;
}

interface World {
  rules: { rule: FaultRule; left: number }[];
  readonly buckets: Buckets;
  readonly latencyMs: Map<string, number>;
  trace: TracedCall[];
  /** By action and body. */
  readonly answers: Map<string, Answer>;
}

const TRACE_LENGTH = 10_000;
const ANSWERS_MAX = 1_000;

/** Starts an HTTP proxy in front of the AWS emulator that makes calls fail as AWS and the network do. */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const world: World = { rules: [], buckets: new Buckets(), latencyMs: new Map(), trace: [], answers: new Map() };
  const target = new URL(options.target);
  const agent = new Agent({ keepAlive: true });
  const stopped = new AbortController();

  const control: Pick<FaultProxy, 'rule' | 'bucket' | 'latency' | 'trace' | 'reset'> = {
    rule: (rule) => void world.rules.push({ rule, left: rule.times ?? 1 }),
    bucket: (action, bucket) => world.buckets.set(action, bucket),
    latency: (action, ms) => void world.latencyMs.set(action, ms),
    trace: () => world.trace,
    reset: () => {
      world.rules = [];
      world.buckets.clear();
      world.latencyMs.clear();
      world.trace = [];
    },
  };

  const server = createServer((req, res) => {
    const handled =
      req.url === '/_ctl' ? obey(control, req, res) : pass(world, target, agent, stopped.signal, req, res);
    // The target is gone, or we are stopping: the caller sees a connection that is cut.
    handled.catch(() => req.socket.destroy());
  });
  const host = options.host ?? '127.0.0.1';
  server.listen(options.port ?? 0, host);
  await once(server, 'listening');

  return {
    endpoint: `http://${host}:${(server.address() as AddressInfo).port}`, // listening on TCP
    ...control,
    stop: async () => {
      stopped.abort();
      agent.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function pass(
  world: World,
  target: URL,
  agent: Agent,
  stopped: AbortSignal,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  const body = await text(req);
  const action = actionOf(req, body);
  const efs = req.headers.authorization?.includes('/elasticfilesystem/') ?? false;
  const rule = ruleFor(world, action, body);
  remember(world, { atMs: performance.now(), action, body, fault: rule?.fault });

  const call = `${action} ${body}`;
  const before = world.answers.get(call);
  const carry = async () => {
    const answer = await forward(target, agent, req, body);
    if (world.answers.size >= ANSWERS_MAX) world.answers.clear();
    world.answers.set(call, answer);
    return answer;
  };
  if (rule === undefined) {
    const ms = world.latencyMs.get(action) ?? world.latencyMs.get('*') ?? 0;
    if (ms > 0) await delay(ms, undefined, { signal: stopped });
    return send(res, await carry());
  }
  const answer = answerOf(rule.fault, efs);
  if (answer !== undefined) return send(res, answer);
  switch (rule.fault) {
    case 'delay':
      await delay(rule.ms ?? 1000, undefined, { signal: stopped });
      return send(res, await carry());
    case 'stale':
      return send(res, before ?? (await carry()));
    case 'lostReply':
      await carry();
      req.socket.destroy();
      return;
    case 'reset':
      req.socket.destroy();
      return;
    case 'hang':
      // The connection stays open until the caller gives up, or the proxy stops.
      return;
  }
}

/** EC2 names its action in the body, EFS in the path. */
function actionOf(req: IncomingMessage, body: string): string {
  const named = new URLSearchParams(body).get('Action');
  return named ?? `${req.method} ${req.url?.split('?')[0]?.replace(/\bfs(mt)?-[0-9a-f]+/g, 'ID')}`;
}

function ruleFor(world: World, action: string, body: string): FaultRule | undefined {
  const entry = world.rules.find(
    ({ rule, left }) =>
      left > 0 &&
      (rule.action === action || rule.action === '*') &&
      (rule.contains === undefined || body.includes(rule.contains)),
  );
  if (entry !== undefined) {
    entry.left -= 1;
    return entry.rule;
  }
  return world.buckets.take(action) ? undefined : { action, fault: 'throttle' };
}

function remember(world: World, call: TracedCall): void {
  world.trace.push(call);
  if (world.trace.length > TRACE_LENGTH) world.trace.shift();
}

/** Carries a call to the target. */
async function forward(target: URL, agent: Agent, req: IncomingMessage, body: string): Promise<Answer> {
  const out = request({
    host: target.hostname,
    port: target.port,
    method: req.method,
    path: req.url,
    // Host stays the caller's: the signature covers it.
    headers: { ...req.headers, 'content-length': Buffer.byteLength(body) },
    agent,
  });
  out.end(body);
  const [answer] = (await once(out, 'response')) as [IncomingMessage]; // what node:http emits
  return {
    status: answer.statusCode ?? 502,
    type: answer.headers['content-type'] ?? 'application/octet-stream',
    body: await text(answer),
  };
}

function send(res: ServerResponse, answer: Answer): void {
  res.writeHead(answer.status, { 'content-type': answer.type, 'content-length': Buffer.byteLength(answer.body) });
  res.end(answer.body);
}

/** What `POST /_ctl` takes, for a proxy that runs as a process. Each part is optional; `reset` comes first. */
interface ControlRequest {
  readonly reset?: boolean;
  readonly rules?: readonly FaultRule[];
  readonly buckets?: Readonly<Record<string, Bucket>>;
  readonly latencyMs?: Readonly<Record<string, number>>;
}

/** `GET /_ctl` and the answer to a POST are the trace. */
async function obey(
  control: Pick<FaultProxy, 'rule' | 'bucket' | 'latency' | 'trace' | 'reset'>,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  if (req.method === 'POST') {
    const wish = JSON.parse(await text(req)) as ControlRequest; // only our own tests write it
    if (wish.reset) control.reset();
    for (const rule of wish.rules ?? []) control.rule(rule);
    for (const [action, bucket] of Object.entries(wish.buckets ?? {})) control.bucket(action, bucket);
    for (const [action, ms] of Object.entries(wish.latencyMs ?? {})) control.latency(action, ms);
  }
  send(res, { status: 200, type: 'application/json', body: JSON.stringify({ trace: control.trace() }) });
}
