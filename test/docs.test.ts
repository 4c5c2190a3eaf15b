import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type JsonSchema, structuralSchema } from '../src/crds/emit.ts';
import { kinds } from '../src/crds/kinds.ts';
import { featureRows, problemWith } from './featuretable.ts';

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const docs = join(top, 'docs');

const pages = [
  join(top, 'CONTRIBUTING.md'),
  ...readdirSync(docs, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(docs, name)),
];

describe('the docs', () => {
  it('link only to pages and headings that are there', () => {
    for (const page of pages) {
      for (const [, link = ''] of withoutCode(readFileSync(page, 'utf8')).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(link)) continue;
        const [path = '', heading] = link.split('#');
        const target = path === '' ? page : resolve(dirname(page), path);
        const text = target.endsWith('.md') ? readFileSync(target, 'utf8') : readdirSync(target).join();
        if (heading !== undefined) expect(headingsOf(text), `${page} links to ${link}`).toContain(heading);
      }
    }
  });

  it('name every field of every spec on the page of its kind', () => {
    for (const { kind, singular, spec } of kinds) {
      const text = readFileSync(join(docs, `${singular}.md`), 'utf8');
      for (const field of fieldsOf(structuralSchema(spec)))
        expect(text, `docs/${singular}.md does not name ${field} of ${kind}`).toMatch(
          new RegExp(`\`[^\`]*\\b${field}\\b[^\`]*\``),
        );
    }
  });

  it('give every default of a spec', () => {
    for (const { kind, singular, spec } of kinds) {
      const text = readFileSync(join(docs, `${singular}.md`), 'utf8');
      for (const [field, value] of defaultsOf(structuralSchema(spec))) {
        const row = text.split('\n').find((line) => new RegExp(`^\\| \`([\\w.]+\\.)?${field}\` `).test(line));
        expect(row, `docs/${singular}.md: the row of ${field} of ${kind}`).toContain(`\`${value}\``);
      }
    }
  });
});

describe('docs/expresscluster.md', () => {
  const rows = featureRows(readFileSync(join(docs, 'expresscluster.md'), 'utf8'));

  it('has a mark for each row, and a test for each that is done', () => {
    expect(rows.length).toBeGreaterThan(100);
    for (const { there, mark, here, tests, rest } of rows) {
      expect(['done', 'part', 'untested', 'not needed', 'not yet', 'no'], `the mark of "${there}"`).toContain(mark);
      expect(here, `"${there}" says nothing`).not.toBe('');
      expect(rest, `the tests of "${there}"`).toBe('');
      if (mark === 'done' || mark === 'part') expect(tests, `"${there}" names no test`).not.toEqual([]);
      else expect(tests, `"${there}" is ${mark} and names a test`).toEqual([]);
    }
  });

  it('names tests that are there, by words that they say', () => {
    const texts = new Map<string, string>();
    const files = readdirSync(join(top, 'test'), { recursive: true, encoding: 'utf8' });
    for (const { there, tests } of rows) {
      for (const { file, words } of tests) {
        expect(file, `a test of "${there}"`).toMatch(/\.test\.ts$/);
        expect(files, `a test of "${there}"`).toContain(file);
        const text = texts.get(file) ?? readFileSync(join(top, 'test', file), 'utf8');
        texts.set(file, text);
        for (const some of words) expect(text.includes(some), `${file} does not say "${some}" ("${there}")`).toBe(true);
      }
    }
  });

  it('names nothing that is not there', () => {
    const problems = rows.flatMap(({ there, names }) =>
      names.flatMap((name) => {
        const problem = problemWith(name);
        return problem === undefined ? [] : [`${there}: ${problem}`];
      }),
    );
    expect(problems).toEqual([]);
  });

  it.each([
    'FailoverGroup.spec.nodez',
    'FailoverGroup.spec.process.stop.timeout.seconds',
    'DiskMonitor.spec.when: Sometimes',
    'FailoverGroup.spec.running: maybe',
    'kubectl pointsman frob',
    'kubectl pointsman move --frob',
    'kubectl get frobs',
    'make frob',
    'pointsman.dev/frob',
    'POINTSMAN_FROB',
    'src/frob.ts',
    'Frobbed',
    'spec.nodes',
  ])('would see that there is no %s', (name) => expect(problemWith(name)).toBeDefined());
});

/** As GitHub makes anchors of headings. */
function headingsOf(text: string): string[] {
  return [...withoutCode(text).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

function withoutCode(text: string): string {
  return text.replace(/^ *```[\s\S]*?^ *```/gm, '');
}

function fieldsOf(schema: JsonSchema): string[] {
  const properties = Object.entries((schema['properties'] ?? {}) as Record<string, JsonSchema>);
  const below = properties.flatMap(([name, property]) => [name, ...fieldsOf(property)]);
  return schema['items'] === undefined ? below : [...below, ...fieldsOf(schema['items'] as JsonSchema)];
}

/** Of the fields that are not objects: those have their defaults below. */
function defaultsOf(schema: JsonSchema): [string, string][] {
  return Object.entries((schema['properties'] ?? {}) as Record<string, JsonSchema>).flatMap(([name, property]) => {
    if (property['properties'] !== undefined) return defaultsOf(property);
    const value = property['default'];
    return value === undefined ? [] : [[name, Array.isArray(value) ? `[${value.join(', ')}]` : String(value)]];
  });
}
