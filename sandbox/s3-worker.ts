import * as s3 from '@aws-sdk/client-s3';
import { describeError } from '../src/base/errors.ts';
import { work } from './lines.ts';
import type { S3Answer, S3Call } from './s3.ts';

/** The AWS SDK's S3 client, kept warm. Runs in the client's network: `node s3-worker.ts ENDPOINT ACCESS_KEY SECRET_KEY` */
const [endpoint, accessKeyId, secretAccessKey] = process.argv.slice(2);
if (endpoint === undefined || accessKeyId === undefined || secretAccessKey === undefined) {
  throw new Error('Cannot start the S3 client: three arguments are needed');
}
const client = new s3.S3Client({
  endpoint,
  region: 'us-east-1',
  forcePathStyle: true,
  credentials: { accessKeyId, secretAccessKey },
});

const say = work((call: S3Call) => {
  void carryOut(call).then(
    (answer) => say({ id: call.id, ...answer }),
    (error: unknown) =>
      say({ id: call.id, error: describeError(error), code: error instanceof Error ? error.name : '' }),
  );
});
say({ id: 0 });

async function carryOut({ operation, bucket, key, body, limitMs }: S3Call): Promise<Omit<S3Answer, 'id'>> {
  const options = { abortSignal: AbortSignal.timeout(limitMs) };
  const object = { Bucket: bucket, Key: key ?? '' };
  switch (operation) {
    case 'createBucket':
      await client.send(new s3.CreateBucketCommand({ Bucket: bucket }), options);
      return {};
    case 'putObject':
      await client.send(new s3.PutObjectCommand({ ...object, Body: body ?? '' }), options);
      return {};
    case 'getObject': {
      const answer = await client.send(new s3.GetObjectCommand(object), options);
      return { body: (await answer.Body?.transformToString()) ?? '' };
    }
    case 'listObjects': {
      const answer = await client.send(new s3.ListObjectsV2Command({ Bucket: bucket }), options);
      return { keys: (answer.Contents ?? []).map(({ Key }) => Key ?? '') };
    }
  }
}
