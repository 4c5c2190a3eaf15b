import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/** A house rule is a test with its reason, or it is no rule. */

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const src = join(top, 'src');

/** Folder → folders of ours that it may import. docs/architecture.md tells why. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  crds: ['base'],
  decide: ['base', 'crds'],
  kube: ['base', 'crds'],
  aws: ['base'],
  reconcilers: ['base', 'crds', 'decide', 'kube', 'aws'],
  controller: ['base', 'crds', 'decide', 'kube', 'aws', 'reconcilers'],
  agent: ['base', 'crds', 'decide', 'kube'],
  cli: ['base', 'crds', 'decide', 'kube'],
};

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({
    path: join(src, name),
    folder: name.split('/')[0] ?? '',
    text: readFileSync(join(src, name), 'utf8'),
  }));

describe('src', () => {
  it('imports only downwards, so that a decision can be read and tested without the world around it', () => {
    for (const { path, folder, text } of files) {
      for (const [, specifier = ''] of text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
        if (!specifier.startsWith('.')) continue;
        const target = relative(src, resolve(dirname(path), specifier)).split('/')[0] ?? '';
        if (target === folder) continue;
        expect(MAY_IMPORT[folder] ?? [], `${relative(top, path)} imports ${specifier}`).toContain(target);
      }
    }
  });

  it('has no folder that the table does not know', () => {
    expect([...new Set(files.map(({ folder }) => folder))].filter((folder) => !(folder in MAY_IMPORT))).toEqual([]);
  });

  it('decides without a clock, chance, waiting or input, so that the same seen gives the same plan', () => {
    for (const { path, folder, text } of files) {
      if (folder !== 'decide') continue;
      const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
      for (const word of [/\bDate\b/, /Math\.random/, /setTimeout/, /\bawait\b/, /'node:/, /\bperformance\b/]) {
        expect(code, `${relative(top, path)} names ${word}`).not.toMatch(word);
      }
    }
  });

  it('has no drawer for what belongs nowhere', () => {
    const drawers = files.filter(({ path }) =>
      /\/(utils?|helpers|common|misc|index)(\/|\.ts$)/.test(relative(src, path)),
    );
    expect(drawers.map(({ path }) => path)).toEqual([]);
  });

  it('keeps retries out of the reconcilers, where the queue is the retry', () => {
    const retried = files.filter(
      ({ folder, text }) => (folder === 'reconcilers' || folder === 'decide') && text.includes("'p-retry'"),
    );
    expect(retried.map(({ path }) => path)).toEqual([]);
  });
});
