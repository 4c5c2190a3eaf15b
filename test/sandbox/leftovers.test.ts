import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { pidNamespace } from '../../sandbox/processes.ts';

const LAUNCHER = fileURLToPath(new URL('./launcher.ts', import.meta.url));
const launchers: ChildProcess[] = [];

afterEach(() => {
  for (const launcher of launchers.splice(0)) launcher.kill('SIGKILL');
});

interface Launched {
  readonly launcher: ChildProcess;
  readonly pid: number;
  readonly apiUrl: string;
}

async function launch(): Promise<Launched> {
  const launcher = spawn(process.execPath, [LAUNCHER], { stdio: ['pipe', 'pipe', 'inherit'] });
  launchers.push(launcher);
  const [line] = (await once(createInterface({ input: launcher.stdout }), 'line')) as [string];
  return { launcher, ...(JSON.parse(line) as { pid: number; apiUrl: string }) };
}

/** What a sandbox could leave on a host beside processes and interfaces: none of these may ever be seen there. */
function traces() {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return {
    mounts: mounts.filter((line) => /\/run\/(sandbox|netns)| - tmpfs (sandbox|efs|mnt|server\d) /.test(line)),
    run: readdirSync('/run').filter((name) => name === 'sandbox' || name === 'netns'),
  };
}

function processesOf(namespaces: ReadonlySet<string>): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && namespaces.has(pidNamespace(pid) ?? ''));
}

/** The pid namespaces of everything below the sandbox's pid 1. */
function namespacesBelow(pid: number): Set<string> {
  const found = new Set<string>();
  const own = pidNamespace(pid);
  if (own !== undefined) found.add(own);
  for (const child of readdirSync('/proc').map(Number).filter(Boolean)) {
    if (parentOf(child) === pid) for (const namespace of namespacesBelow(child)) found.add(namespace);
  }
  return found;
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return -1;
  }
}

const linkOf = ({ apiUrl }: Launched) => {
  const [a, b, c, d] = new URL(apiUrl).hostname.split('.').map(Number) as [number, number, number, number];
  return Object.entries(networkInterfaces()).find(([, addresses]) =>
    addresses?.some(({ address }) => address === [a, b, c, d + 1].join('.')),
  )?.[0];
};

function cgroupsOf(pid: number): string[] {
  const all = readdirSync('/sys/fs/cgroup', { recursive: true, encoding: 'utf8' });
  return all.filter((path) => path.endsWith(`pointsman-sandbox-${pid}`));
}

test('two sandboxes run side by side, and neither leaves anything behind when it is stopped or its launcher killed', async () => {
  const nothing = { mounts: [], run: [] };
  const both = await Promise.all([launch(), launch()]);
  const devices = both.map(linkOf);
  const namespaces = both.map(({ pid }) => namespacesBelow(pid));
  expect(new Set(devices).size).toBe(2);
  expect(devices).not.toContain(undefined);
  for (const seen of namespaces) expect(seen.size).toBe(3); // itself and two servers
  expect(traces()).toEqual(nothing);

  const [stopped, killed] = both;
  killed.launcher.kill('SIGKILL');
  stopped.launcher.stdin?.end();
  await Promise.all(both.map(({ launcher }) => launcher.exitCode ?? launcher.signalCode ?? once(launcher, 'exit')));
  await vi.waitFor(
    () => {
      for (const seen of namespaces) expect(processesOf(seen)).toEqual([]);
      const left = Object.keys(networkInterfaces());
      for (const device of devices) expect(left).not.toContain(device);
      for (const { pid } of both) expect(cgroupsOf(pid)).toEqual([]);
    },
    { timeout: 5_000, interval: 20 },
  );
  expect(traces()).toEqual(nothing);
}, 120_000);
