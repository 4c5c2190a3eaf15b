import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * A wire to the API server that can fail. `open` passes everything; `silent` keeps connections and accepts new ones but
 * passes nothing, as a network that drops packets does; `closed` resets all and refuses new ones.
 */
export interface FaultProxy {
  /** `https://127.0.0.1:<port>`. */
  readonly url: string;
  set(state: 'open' | 'silent' | 'closed'): void;
  /** Resets the connections there are; new ones pass. */
  reset(): void;
  /** Passes `bytes` more of what the server says on the connections there are, then ends them. */
  truncateAfter(bytes: number): void;
  /** Loses what the client gets from now on, while the server still gets everything: a write whose answer is lost. */
  loseAnswers(lose: boolean): void;
  /** Every answer takes this much longer, beginnings of connections included. */
  slowDown(ms: number): void;
  /** Connections there are now. */
  connections(): number;
  /** Connections there ever were. */
  accepted(): number;
  stop(): Promise<void>;
}

interface Wire {
  readonly client: Socket;
  readonly server: Socket;
  /** What was said while the wire was silent. */
  held: (() => void)[];
  left: number;
}

export async function startFaultProxy(target: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(target);
  const wires = new Set<Wire>();
  let state: 'open' | 'silent' | 'closed' = 'open';
  let losing = false;
  let slowMs = 0;
  let accepted = 0;

  const cut = (wire: Wire) => {
    wires.delete(wire);
    wire.client.resetAndDestroy();
    wire.server.destroy();
  };
  const toClient = (wire: Wire, chunk: Buffer) => {
    wire.client.write(chunk.subarray(0, wire.left));
    wire.left -= chunk.length;
    if (wire.left > 0) return;
    wires.delete(wire);
    wire.client.end();
    wire.server.destroy();
  };
  const listener: Server = createServer((client) => {
    if (state === 'closed') {
      client.resetAndDestroy();
      return;
    }
    accepted += 1;
    const wire: Wire = { client, server: connect(Number(port), hostname), held: [], left: Number.POSITIVE_INFINITY };
    wires.add(wire);
    const pass = (deliver: () => void) => (state === 'silent' ? wire.held.push(deliver) : deliver());
    client.on('data', (chunk) => pass(() => wire.server.write(chunk)));
    wire.server.on('data', (chunk) => {
      if (losing) return;
      if (slowMs > 0) setTimeout(() => pass(() => toClient(wire, chunk)), slowMs);
      else pass(() => toClient(wire, chunk));
    });
    for (const socket of [client, wire.server]) {
      socket.on('error', () => cut(wire));
      socket.on('close', () => {
        wires.delete(wire);
        client.destroy();
        wire.server.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  const url = `https://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  return {
    url,
    set(next) {
      state = next;
      for (const wire of [...wires]) {
        if (state === 'closed') cut(wire);
        else if (state === 'open') for (const deliver of wire.held.splice(0)) deliver();
      }
    },
    reset() {
      for (const wire of [...wires]) cut(wire);
    },
    truncateAfter(bytes) {
      for (const wire of wires) wire.left = bytes;
    },
    loseAnswers(lose) {
      losing = lose;
    },
    slowDown(ms) {
      slowMs = ms;
    },
    connections: () => wires.size,
    accepted: () => accepted,
    async stop() {
      const closed = once(listener, 'close');
      listener.close();
      for (const wire of [...wires]) cut(wire);
      await closed;
    },
  };
}
