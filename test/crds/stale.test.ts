import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ARGOCD_SCRIPTS, type ArgocdScripts, argocdPatch } from '../../src/crds/argocd.ts';
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

it('manifests/argocd is what "make crds" writes from its scripts', () => {
  const argocd = new URL('../../manifests/argocd/', import.meta.url);
  const scripts = Object.fromEntries(
    ARGOCD_SCRIPTS.map((name) => [name, readFileSync(new URL(`lua/${name}.lua`, argocd), 'utf8')]),
  ) as ArgocdScripts; // fromEntries forgets the keys, which are those of the list
  const stored = readFileSync(new URL('argocd-cm.yaml', argocd), 'utf8');
  expect(stored, 'argocd-cm.yaml is stale: run "make crds"').toBe(argocdPatch(scripts));
  expect(readdirSync(new URL('lua/', argocd)).sort()).toEqual(ARGOCD_SCRIPTS.map((name) => `${name}.lua`).sort());
});
