import { createServer, connect as netConnect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { describeError } from '../src/base/errors.ts';

/**
 * Calls between the launcher on the host and the sandbox: JSON lines over a Unix socket, which the host finds under
 * /proc/<pid>/root. Anybody who may open it may call; that is root alone.
 */
export type Handlers<Api> = {
  [Name in keyof Api]: Api[Name] extends (...args: never[]) => unknown ? Api[Name] : never;
};

export interface Served {
  /** To everybody connected. */
  emit(event: string, data: unknown): void;
}

/** Serves until the process ends. */
export async function serve(path: string, handlers: object): Promise<Served> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {}); // whoever called is gone
    createInterface({ input: socket }).on('line', (line) => void answer(socket, line, handlers));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return {
    emit: (event, data) => {
      for (const socket of sockets) socket.write(`${JSON.stringify({ event, data })}\n`);
    },
  };
}

async function answer(socket: Socket, line: string, handlers: object): Promise<void> {
  const { id, method, args } = JSON.parse(line) as { id: number; method: string; args: unknown[] }; // our own launcher
  const reply = (body: object) => socket.write(`${JSON.stringify({ id, ...body })}\n`);
  try {
    const act = (handlers as Record<string, ((...args: unknown[]) => unknown) | undefined>)[method];
    if (act === undefined) throw new Error(`Cannot call ${method}: the sandbox has no such call`);
    reply({ result: await act(...args) });
  } catch (error) {
    reply({ error: describeError(error) });
  }
}

export interface Remote<Api> {
  readonly call: Api;
  on(event: string, listener: (data: unknown) => void): void;
  close(): void;
}

/** Calls fail when the connection does; none has a limit here: each call's own work has. */
export async function connect<Api extends object>(path: string): Promise<Remote<Api>> {
  const socket = netConnect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  const waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  const listeners = new Map<string, (data: unknown) => void>();
  let calls = 0;
  createInterface({ input: socket }).on('line', (line) => {
    const said = JSON.parse(line) as { id?: number; result?: unknown; error?: string; event?: string; data?: unknown };
    if (said.event !== undefined) return listeners.get(said.event)?.(said.data);
    const call = waiting.get(said.id ?? -1);
    waiting.delete(said.id ?? -1);
    if (said.error === undefined) call?.resolve(said.result);
    else call?.reject(new Error(said.error));
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('The sandbox has ended'));
    waiting.clear();
  });
  const call = new Proxy({} as Api, {
    get:
      (_, method) =>
      (...args: unknown[]) =>
        new Promise((resolve, reject) => {
          if (socket.closed) return reject(new Error('The sandbox has ended'));
          const id = ++calls;
          waiting.set(id, { resolve, reject });
          socket.write(`${JSON.stringify({ id, method, args })}\n`);
        }),
  });
  return { call, on: (event, listener) => listeners.set(event, listener), close: () => socket.destroy() };
}
