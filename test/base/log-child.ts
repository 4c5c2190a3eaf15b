import { createLog } from '../../src/base/log.ts';

/** Logs what its parent asks for, and says when it has; see log.test.ts. */

const log = createLog('test', process.argv[2]);
const PADDING = 'x'.repeat(1_000);

const WORDS: Readonly<Record<string, () => void>> = {
  fields: () => log.info('moved', { group: 'failover', epoch: 7, nodes: ['server1', 'server2'], move: { ms: 1.5 } }),
  levels: () => {
    log.debug('d');
    log.info('i');
    log.warn('w');
    log.error('e');
  },
  with: () => log.with({ node: 'server1' }).with({ group: 'g' }).info('plan', { do: 'start' }),
  error: () => {
    const cause = new Error('connect ECONNREFUSED');
    log.with({ was: new TypeError('first') }).error('cannot read', { error: new Error('it is away', { cause }) });
  },
  newline: () => log.info('two\nlines\r\nand \u2028 "quotes"', { field: 'a\nb' }),
  circular: () => {
    const circle: Record<string, unknown> = {};
    log.info('circle', { circle: Object.assign(circle, { circle }), big: 1n });
  },
  /** More than a stream of Node reads ahead, and less than a socket takes. */
  some: () => {
    for (let index = 0; index < 96; index += 1) log.info('some', { index, PADDING });
  },
  /** Eight times what is kept. */
  flood: () => {
    for (let index = 0; index < 8_192; index += 1) log.info('flood', { index, PADDING });
  },
  one: () => log.info('one'),
  last: () => log.error('last'),
};

process.on('message', (word) => {
  WORDS[String(word)]?.();
  process.send?.(word);
});
process.on('disconnect', () => process.exit());
