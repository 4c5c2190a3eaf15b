import { defineConfig } from 'vitest/config';

const ON_A_SANDBOX = ['test/sandbox/leftovers.test.ts', 'test/sandbox/sandbox.test.ts'];

/** `fast`: everything but the sandbox. `e2e`: whole scenarios on the sandbox. `vitest run --project fast` runs one. */
export default defineConfig({
  test: {
    reporters: ['default', './test/reporter.ts'],
    // Processes, not threads: tests start children that die with their parent, and use signals.
    pool: 'forks',
    // One more than the cores of the smallest machine: with more, tests wait for each other instead of what they test.
    maxWorkers: 3,
    testTimeout: 30_000,
    // A cold API server on a busy machine; a build of the tools has its own progress and limit.
    hookTimeout: 180_000,
    teardownTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts', 'src/**/*.test.ts'],
          exclude: ['test/e2e/**', ...ON_A_SANDBOX],
          globalSetup: ['test/globalsetup.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', ...ON_A_SANDBOX],
          testTimeout: 180_000,
          // A sandbox each: more of them on two cores only measure each other.
          fileParallelism: false,
        },
      },
    ],
  },
});
