import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { workerOf } from './lines.ts';
import type { Sandbox } from './sandbox.ts';

/** A real S3 client in the client's network, through the VIP or any other address. */
export interface S3 {
  createBucket(bucket: string): Promise<void>;
  putObject(bucket: string, key: string, body: string): Promise<void>;
  getObject(bucket: string, key: string): Promise<string>;
  listObjects(bucket: string): Promise<string[]>;
  stop(): Promise<void>;
}

export interface S3Options {
  /** Such as `http://10.1.0.20:9000`. */
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of each call, the SDK's own retries included. Default: 30 s. */
  readonly limitMs?: number;
}

export interface S3Call {
  readonly id: number;
  readonly operation: 'createBucket' | 'putObject' | 'getObject' | 'listObjects';
  readonly bucket: string;
  readonly key?: string | undefined;
  readonly body?: string | undefined;
  readonly limitMs: number;
}

export interface S3Answer {
  readonly id: number;
  readonly body?: string;
  readonly keys?: string[];
  readonly error?: string;
  /** S3's error code, such as `NoSuchKey`. */
  readonly code?: string;
}

const HERE = dirname(fileURLToPath(import.meta.url));

/** Resolves when the SDK is loaded. */
export async function startS3(sandbox: Sandbox, options: S3Options): Promise<S3> {
  const { endpoint, accessKeyId, secretAccessKey, limitMs = 30_000 } = options;
  const worker = workerOf(
    sandbox.client.spawn([process.execPath, `${HERE}/s3-worker.ts`, endpoint, accessKeyId, secretAccessKey]),
  );
  const waiting = new Map<number, (answer: S3Answer) => void>();
  worker.onMessage((answer: S3Answer) => {
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  const loaded = new Promise<void>((resolve, reject) => {
    waiting.set(0, () => resolve());
    void worker.exited.then(() => {
      reject(new Error('Cannot start the S3 client: it has ended'));
      for (const [id, answer] of waiting) answer({ id, error: 'the S3 client has ended' });
    });
  });
  let calls = 0;
  const call = async (operation: S3Call['operation'], bucket: string, key?: string, body?: string) => {
    const id = ++calls;
    const answered = new Promise<S3Answer>((resolve) => waiting.set(id, resolve));
    worker.send({ id, operation, bucket, key, body, limitMs } satisfies S3Call);
    const answer = await answered;
    if (answer.error !== undefined) {
      const what = [operation, bucket, key].filter(Boolean).join(' ');
      throw Object.assign(new Error(`Cannot ${what} at ${endpoint}: ${answer.error}`), { code: answer.code });
    }
    return answer;
  };
  await loaded;
  return {
    createBucket: async (bucket) => void (await call('createBucket', bucket)),
    putObject: async (bucket, key, body) => void (await call('putObject', bucket, key, body)),
    getObject: async (bucket, key) => (await call('getObject', bucket, key)).body ?? '',
    listObjects: async (bucket) => (await call('listObjects', bucket)).keys ?? [],
    stop: () => worker.stop(),
  };
}
