# The controller's image. The bundle is made first, by `make bundle`; `make image` does both.
FROM node:24-bookworm-slim
COPY LICENSE dist/controller.mjs dist/controller.mjs.map /app/
# Names a user of the base image that is not root, by number, so that runAsNonRoot can tell.
USER 1000:1000
WORKDIR /app
# In exec form: Node is pid 1 and handles SIGTERM itself.
CMD ["node", "--enable-source-maps", "controller.mjs"]
