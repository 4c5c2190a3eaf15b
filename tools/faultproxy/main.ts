import { parseArgs } from 'node:util';
import { startFaultProxy } from './proxy.ts';

/** `node tools/faultproxy/main.ts --target http://127.0.0.1:5577 [--host …] [--port …]`: prints `{"endpoint": …}`. */
const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
  },
});
if (values.target === undefined) {
  process.stderr.write('Cannot start the fault proxy: no target; give --target http://127.0.0.1:PORT\n');
  process.exit(2);
}
const proxy = await startFaultProxy({ target: values.target, host: values.host, port: Number(values.port) });
process.stdout.write(`${JSON.stringify({ endpoint: proxy.endpoint })}\n`);
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void proxy.stop());
