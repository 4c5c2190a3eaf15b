import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import * as s3 from '@aws-sdk/client-s3';
import { describeError } from '../../src/base/errors.ts';
import { work } from '../lines.ts';
import type { ClientCall, ClientSays } from './client.ts';
import type { Attempt } from './judge.ts';

/**
 * Writes objects and reads them back, on and on, and tells how each attempt ended. Runs in the client's network:
 *
 *     node client-worker.ts ENDPOINT ACCESS_KEY SECRET_KEY
 *
 * The bucket is open to everybody, so an attempt is a plain HTTP request without a signature, on a connection of its
 * own: whether there was a connection at all tells a write that was never sent from one that may have been done.
 */
const [endpoint = '', accessKeyId = '', secretAccessKey = ''] = process.argv.slice(2);
if (secretAccessKey === '') throw new Error('Cannot start the client: three arguments are needed');
const BUCKET = 'chaos';
/** Each works on keys of its own, one attempt after the other. */
const LANES = 3;
const PACE_MS = 25;
/** After a failed attempt, so that a server that refuses is not asked thousands of times a second. */
const PACE_AFTER_FAILURE_MS = 50;
/** The first SYN and, a second later, no other: whoever does not answer within this is tried anew. */
const CONNECT_LIMIT_MS = 400;
/** Long enough for a busy server, short enough that a lane is soon back after one that vanished. */
const ATTEMPT_LIMIT_MS = 2_000;
const READERS = 4;
const SMALL = 2_000;
/** MinIO keeps what is larger than 128 KiB in a file of its own. */
const LARGE = 200_000;

const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
let writing = false;
let under = 0;
const say = work((call: ClientCall) => {
  void obey(call).then(
    () => tell({ id: call.id }),
    (error: unknown) => tell({ id: call.id, error: describeError(error) }),
  );
});
const tell = (what: ClientSays) => say(what);
const keysSeen = new Set<string>();
let touched = new Set<string>();

async function obey(call: ClientCall): Promise<void> {
  if (call.do === 'open') return await openBucket(call.limitMs);
  if (call.do === 'write') {
    writing = true;
    return;
  }
  writing = false;
  const endMs = nowMs() + call.limitMs;
  while (under > 0) await delay(5);
  const keys = [...(call.do === 'readAll' ? keysSeen : touched)];
  touched = new Set();
  let next = 0;
  const reader = async () => {
    for (let key = keys[next++]; key !== undefined; key = keys[next++]) {
      // Asked until it is answered: what is not read cannot be judged.
      while ((await get(key)).outcome !== 'done' && nowMs() < endMs) await delay(PACE_AFTER_FAILURE_MS);
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
}

/** @throws after `limitMs`, with what the last try said */
async function openBucket(limitMs: number): Promise<void> {
  const client = new s3.S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  const policy = {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { AWS: ['*'] },
        Action: ['s3:GetObject', 's3:PutObject'],
        Resource: [`arn:aws:s3:::${BUCKET}/*`],
      },
      // Without it a missing object is 403, as with S3.
      { Effect: 'Allow', Principal: { AWS: ['*'] }, Action: ['s3:ListBucket'], Resource: [`arn:aws:s3:::${BUCKET}`] },
    ],
  };
  const options = { abortSignal: AbortSignal.timeout(limitMs) };
  try {
    await client.send(new s3.CreateBucketCommand({ Bucket: BUCKET }), options);
  } catch (error) {
    if (!(error instanceof Error && error.name === 'BucketAlreadyOwnedByYou')) throw error;
  }
  await client.send(new s3.PutBucketPolicyCommand({ Bucket: BUCKET, Policy: JSON.stringify(policy) }), options);
  client.destroy();
  for (let n = 1; n <= LANES; n++) void lane(n);
}

/** Mostly overwrites; now and then a new key, a large object, a look at an older key. */
async function lane(n: number): Promise<void> {
  let made = 0;
  const fresh = () => ({ key: `lane${n}-${++made}`, version: 0 });
  const hot = [fresh(), fresh()];
  for (let step = 0; ; step++) {
    await delay(PACE_MS);
    if (!writing) continue;
    const at = step % hot.length;
    const one = hot[at]!; // an index of it
    under++;
    const attempt = step % 7 === 5 && one.version > 0 ? await get(one.key) : await put(one);
    under--;
    // A write of unknown end may still take effect: nothing more is written over it, so that it can be judged.
    if (attempt.operation === 'put' && attempt.outcome === 'unknown') hot[at] = fresh();
    else if (step % 25 === 24) hot[at] = fresh();
    if (attempt.outcome !== 'done') await delay(PACE_AFTER_FAILURE_MS);
  }
}

async function put(one: { readonly key: string; version: number }): Promise<Attempt> {
  const version = ++one.version;
  keysSeen.add(one.key);
  touched.add(one.key);
  const body = contentOf(one.key, version, version % 10 === 3 ? LARGE : SMALL);
  return await attempted(one.key, 'put', version, body);
}

async function get(key: string): Promise<Attempt> {
  return await attempted(key, 'get', 0);
}

async function attempted(
  key: string,
  operation: Attempt['operation'],
  version: number,
  body?: Buffer,
): Promise<Attempt> {
  const startMs = nowMs();
  const answer = await ask(operation === 'put' ? 'PUT' : 'GET', key, body);
  const times = { key, operation, version, startMs, endMs: nowMs() };
  const attempt: Attempt = { ...times, outcome: answer.outcome };
  const told = operation === 'get' && answer.outcome === 'done' ? { ...attempt, found: foundIn(key, answer) } : attempt;
  tell({ id: 0, attempt: told });
  return told;
}

interface Answer {
  readonly outcome: Attempt['outcome'];
  readonly missing?: boolean;
  readonly body?: Buffer;
}

async function ask(method: 'GET' | 'PUT', key: string, body?: Buffer): Promise<Answer> {
  return await new Promise((resolve) => {
    let connected = false;
    const end = (answer: Answer) => {
      clearTimeout(unconnected);
      clearTimeout(late);
      asked.destroy();
      resolve(answer);
    };
    const fail = () => end({ outcome: connected ? 'unknown' : 'notSent' });
    const asked = request(`${endpoint}/${BUCKET}/${key}`, {
      method,
      agent: false,
      headers: body === undefined ? {} : { 'content-length': body.length },
    });
    const unconnected = setTimeout(() => connected || fail(), CONNECT_LIMIT_MS);
    const late = setTimeout(fail, ATTEMPT_LIMIT_MS);
    asked.on('socket', (socket) =>
      socket.once('connect', () => {
        connected = true;
      }),
    );
    asked.on('error', fail);
    asked.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', fail);
      response.on('end', () => {
        const all = Buffer.concat(chunks);
        if (response.statusCode === 200) end({ outcome: 'done', body: all });
        // Of all that a server may refuse with, this alone says what the disk holds.
        else if (method === 'GET' && response.statusCode === 404 && all.includes('<Code>NoSuchKey</Code>')) {
          end({ outcome: 'done', missing: true });
        } else fail();
      });
    });
    asked.end(body);
  });
}

/** A line that says what it is, its checksum, and bytes of that length that no other version has. */
function contentOf(key: string, version: number, size: number): Buffer {
  const seed = createHash('sha256').update(`${key} ${version}`).digest('hex');
  const filler = seed.repeat(Math.ceil(size / seed.length)).slice(0, size);
  return Buffer.from(`${key} ${version} ${createHash('sha256').update(filler).digest('hex')}\n${filler}`);
}

function foundIn(key: string, { missing, body }: Answer): Exclude<Attempt['found'], undefined> {
  if (missing || body === undefined) return 'missing';
  const text = body.toString('latin1');
  const [name, version] = text.slice(0, text.indexOf('\n')).split(' ');
  const size = text.length - text.indexOf('\n') - 1;
  const whole = name === key && contentOf(key, Number(version), size).equals(body);
  return whole && (size === SMALL || size === LARGE) ? Number(version) : 'torn';
}
