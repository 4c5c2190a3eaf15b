import { describe, expect, it } from 'vitest';
import { twiceMs } from '../../sandbox/chaos/meet.ts';
import type { Sample } from '../../sandbox/watch.ts';

const at = (atMs: number, ...running: Sample['running']): Sample => ({ atMs, samples: 1, longestMs: 20, running });
const one = { pid: 1, namespace: 'a', stopped: false };
const two = { pid: 2, namespace: 'b', stopped: false };

describe('the time for which two processes ran', () => {
  it('is from the look that saw two to the next change', () => {
    expect(twiceMs([at(0, one), at(100, one, two), at(180, two)], 0)).toBe(80);
  });

  it('is none where one of them is stopped', () => {
    expect(twiceMs([at(0, { ...one, stopped: true }, two), at(100, two)], 0)).toBe(0);
  });

  it('counts two on one server too', () => {
    expect(twiceMs([at(0, one, { ...one, pid: 3 }), at(50, one)], 0)).toBe(50);
  });

  it('is never none where two were seen, however late in the watch', () => {
    expect(twiceMs([at(0, one), at(100, one, two)], 0)).toBeGreaterThan(0);
  });

  it('leaves out what was over before', () => {
    expect(twiceMs([at(0, one, two), at(100, two), at(300, two)], 200)).toBe(0);
  });
});
