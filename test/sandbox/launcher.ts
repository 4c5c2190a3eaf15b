import { startSandbox } from '../../sandbox/sandbox.ts';

/** A launcher of its own, for the test that kills it: prints {pid, device} and stays. */
const sandbox = await startSandbox({ programs: false });
process.stdout.write(`${JSON.stringify({ pid: sandbox.pid, apiUrl: sandbox.apiUrl })}\n`);
process.stdin.resume().on('end', () => void sandbox.stop().then(() => process.exit(0)));
