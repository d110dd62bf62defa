import type { IncomingMessage, ServerResponse } from 'node:http';

export type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** Paths, and what each answers to which method. HEAD comes with GET. */
export type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>;

/** A request that cannot be answered as asked. `code` and `message` go to the client. */
export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** Nothing here may be cached; the JWKS, which may, has a handler of its own. */
export function sendJson(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': bytes.length,
    'cache-control': 'no-store',
    ...headers,
  });
  response.end(bytes);
}

/** Answers every request: by a route, or with 404, 405, what the handler threw, or 500. */
export function router(
  routes: Routes,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return async (request, response) => {
    try {
      await findHandler(routes, request)(request, response);
    } catch (error) {
      if (response.headersSent) return void response.destroy();
      if (error instanceof HttpError) {
        return sendJson(
          response,
          error.status,
          { error: error.code, error_description: error.message },
          error.headers,
        );
      }
      // Our own fault: for the log, not for the client.
      console.error(error);
      sendJson(response, 500, { error: 'server_error' });
    }
  };
}

function findHandler(routes: Routes, { url = '/', method = 'GET' }: IncomingMessage): Handler {
  const [path = '/'] = url.split('?');
  const methods = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (methods === undefined) throw new HttpError(404, 'not_found', 'there is nothing at this path');
  const name = method === 'HEAD' ? 'GET' : method;
  const handler = Object.hasOwn(methods, name) ? methods[name] : undefined;
  if (handler === undefined) {
    const allow = Object.keys(methods).flatMap((allowed) =>
      allowed === 'GET' ? ['GET', 'HEAD'] : [allowed],
    );
    throw new HttpError(405, 'method_not_allowed', 'this path has other methods', {
      allow: allow.join(', '),
    });
  }
  return handler;
}

const maxBodyLength = 8192;

/** The parameters of a form. The codes are those of RFC 6749, 5.2. */
export async function readForm(request: IncomingMessage): Promise<ReadonlyMap<string, string>> {
  const [mediaType = ''] = (request.headers['content-type'] ?? '').split(';');
  if (mediaType.trim().toLowerCase() !== 'application/x-www-form-urlencoded') {
    throw new HttpError(400, 'invalid_request', 'the body must be application/x-www-form-urlencoded');
  }
  const form = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(await readText(request))) {
    if (form.has(name)) throw new HttpError(400, 'invalid_request', 'a parameter is given twice');
    form.set(name, value);
  }
  return form;
}

async function readText(request: IncomingMessage): Promise<string> {
  const tooLong = new HttpError(413, 'invalid_request', `the body is longer than ${maxBodyLength} bytes`, {
    // What is left of the body is not read.
    connection: 'close',
  });
  if (Number(request.headers['content-length'] ?? 0) > maxBodyLength) throw tooLong;
  const chunks: Buffer[] = [];
  let length = 0;
  // Not destroyed on leaving the loop: the answer goes over the same connection.
  const body: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxBodyLength) throw tooLong;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
