import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { crdFiles } from '../../src/crds/files.ts';
import { reasonsDoc } from '../../src/crds/reasonsdoc.ts';

const folder = new URL('../../manifests/crds/', import.meta.url);

it('manifests/crds is what "make crds" writes from the schemas', () => {
  const wanted = crdFiles();
  expect(readdirSync(folder).sort()).toEqual([...wanted.keys()].sort());
  for (const [name, text] of wanted)
    expect(readFileSync(new URL(name, folder), 'utf8'), `${name} is stale: run "make crds"`).toBe(text);
});

it('docs/conditions.md is what "make crds" writes from the table of reasons', () => {
  const stored = readFileSync(new URL('../../docs/conditions.md', import.meta.url), 'utf8');
  expect(stored, 'docs/conditions.md is stale: run "make crds"').toBe(reasonsDoc());
});
