-- Slurm, CliFilterPlugins=cli_filter/lua, this file as cli_filter.lua beside slurm.conf: every submission, by the command that
-- submits (sbatch, salloc, srun), as its user. A site that has such a file adds the body of slurm_cli_post_submit to its own.
local nudge, cluster = "/usr/local/lib/jobpush/jobpush-nudge", "slurm"

function slurm_cli_post_submit(offset, job_id, step_id)
    if offset == 0 and tonumber(job_id) then
        os.execute(string.format("timeout 5 %s %s %d </dev/null >/dev/null 2>&1 &", nudge, cluster, tonumber(job_id)))
    end
    return slurm.SUCCESS
end

function slurm_cli_setup_defaults(options, early_pass) return slurm.SUCCESS end
function slurm_cli_pre_submit(options, offset) return slurm.SUCCESS end
