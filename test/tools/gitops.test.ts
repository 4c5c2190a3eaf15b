import { expect, it } from 'vitest';
import { ask } from '../gitops/judges.ts';

/** tools/gitops is no kinder to a script than Argo CD is. */

const object = {
  apiVersion: 'example.dev/v1',
  kind: 'Thing',
  metadata: { name: 'a', generation: 3 },
  spec: { none: {}, list: [{ none: {} }], deep: { number: 7, yes: true } },
};
const health = async (lua: string) => (await ask([{ ask: 'health', lua, object }]))[0];

it.each([
  ['return { status = string.upper("healthy") }', /attempt to index a non-table object\(nil\) with key 'upper'/],
  ['return { status = os.getenv("HOME") }', /attempt to index a non-table object/],
  ['io.open("/etc/passwd")', /attempt to index a non-table object/],
  ['while true do end', /context canceled/],
  ['error("no", 0)', /^no$/],
  ['return "Healthy"', /expect table output from Lua script, not string/],
  ['this is not Lua', /syntax error|parse error/],
])('%s is refused', async (lua, why) => {
  expect((await health(lua))?.error).toMatch(why);
});

it('a health that Argo CD does not know is Unknown', async () => {
  expect(await health('return { status = "Fine" }')).toMatchObject({ status: 'Unknown' });
});

it('a script sees the object with its numbers as numbers', async () => {
  const lua = 'return { status = "Healthy", message = obj.kind .. (obj.metadata.generation + obj.spec.deep.number) }';
  expect(await health(lua)).toEqual({ status: 'Healthy', message: 'Thing10' });
});

it('what an action returns unchanged is unchanged, also what was empty', async () => {
  const [one, list] = await ask([
    { ask: 'act', lua: 'return obj', object },
    { ask: 'act', lua: 'return { { operation = "create", resource = { kind = "Other" } } }', object },
  ]);
  expect(one?.resources).toEqual([{ operation: 'patch', resource: object }]);
  expect(list?.resources).toEqual([{ operation: 'create', resource: { kind: 'Other' } }]);
});

it('kstatus looks at the generation, which is an integer', async () => {
  const seen = { ...object, status: { observedGeneration: 3 } };
  const answers = await ask([
    { ask: 'kstatus', object: seen },
    { ask: 'kstatus', object: { ...seen, status: { observedGeneration: -1 } } },
  ]);
  expect(answers.map(({ status }) => status)).toEqual(['Current', 'InProgress']);
});
