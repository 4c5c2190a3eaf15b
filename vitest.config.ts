import { defineConfig } from 'vitest/config';

const ON_A_SANDBOX = ['test/sandbox/leftovers.test.ts', 'test/sandbox/sandbox.test.ts'];
const ON_A_MACHINE = ['test/agent/**/*.test.ts', 'test/tools/faultydisk.test.ts'];
const MODELS = ['test/sim/**/*.test.ts', 'test/walk/**/*.test.ts'];

/**
 * `fast`: everything but the next three. `agent`: real processes and disks, a file at a time. `model`: the simulator and
 * the walks, which keep a core busy. `e2e`: whole scenarios on the sandbox. One after the other: on two cores those that
 * wait for real time would only measure the others.
 * `vitest run --project fast` runs one.
 */
export default defineConfig({
  test: {
    reporters: ['default', './test/reporter.ts'],
    // Processes, not threads: tests start children that die with their parent, and use signals.
    pool: 'forks',
    // For a test that hangs: whatever is promised to be fast has its own limit.
    testTimeout: 120_000,
    // A cold API server on a busy machine; a build of the tools has its own progress and limit.
    hookTimeout: 180_000,
    teardownTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts', 'src/**/*.test.ts'],
          exclude: ['test/e2e/**', '**/*.e2e.test.ts', ...ON_A_MACHINE, ...MODELS, ...ON_A_SANDBOX],
          globalSetup: ['test/globalsetup.ts'],
          // As many as the smallest machine has cores: with more, tests wait for each other instead of what they test.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'agent',
          include: ON_A_MACHINE,
          globalSetup: ['test/globalsetup.ts'],
          // Each looks at every process of the machine, and some make processes that wait in the kernel.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: { name: 'model', include: MODELS, maxWorkers: 2, sequence: { groupOrder: 2 } },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/**/*.e2e.test.ts', ...ON_A_SANDBOX],
          testTimeout: 180_000,
          // A sandbox each: more of them on two cores only measure each other.
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
