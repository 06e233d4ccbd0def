"""The clock process: keeps rq-scheduler turning, whose one entry is the tick, each second, until stopped."""

from app import log
from app.config import of_this_process
from app.engine import doorbell

if __name__ == "__main__":
    config = of_this_process()
    log.configure(config)
    doorbell.run_clock(config.redis_url)
